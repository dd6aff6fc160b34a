"""The exact method's two passes over one piece: its share of the statistics, its share of the gradient.

Pass 1 runs the crop and keeps features at core positions only: those are the same as in the whole
picture, because the halo covers the receptive field. Pass 2 carries the derivatives of the whole
picture's loss back from these positions to all of the crop's pixels. The part of the gradient that
falls on the halo belongs to the neighbours' pixels and is returned with the rest: the sum over pieces is
the exact gradient. (Leaving it out would need a halo of twice the receptive field's radius.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tilefarm.geometry import Box
from tilefarm.plan.halo import receptive_field
from tilefarm.solve.coding import Coded, coded_gradient, decoded
from tilefarm.solve.contract import Picture, SolverSettings
from tilefarm.solve.folding import folded
from tilefarm.solve.measure import (
    by_position,
    check_core,
    core_shares,
    core_slice,
    difference_sum,
    layer_sums,
)
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.objective import active, to_grey
from tilefarm.solve.scaling import MOST_LOWERED, left_range, seed_scale
from tilefarm.solve.tasks import Derivatives, MissingState, PieceGradient, PieceSums, PieceTask

_POSITIONS_PER_BLOCK = 65536
"""Of a layer that are in memory in float32 at a time."""


@dataclass(frozen=True)
class _Fixed:
    """What does not change during a level, at a piece's core."""

    content: dict[str, Tensor]
    """The content's features, in the network's dtype."""
    shares: dict[str, Tensor]
    """Per style layer the regions' shares (M, R); empty where there is one style for all."""


@dataclass(frozen=True)
class _Graph:
    """A forward pass that waits for its backward pass."""

    image: Tensor
    features: dict[str, Tensor]
    fixed: _Fixed


class PieceSolver:
    """Keeps, for one level, content features of the pieces it has seen, and between the passes graphs and
    crops."""

    def __init__(
        self, network: FeatureNetwork, settings: SolverSettings, graphs: int, contents: int, crops: int = 0
    ) -> None:
        """`graphs`, `contents` and `crops`: of how many pieces the graph, the content's features and, where
        the graph is not, the crop are kept."""
        self._network = network
        self._settings = settings
        self._style = list(active(settings.style_layers)) if settings.style_weight else []
        self._content = list(active(settings.content_layers)) if settings.content_weight else []
        layers = {*self._style, *self._content}
        self._strides = {name: receptive_field(settings.network, name).stride for name in layers}
        self._most_graphs = graphs
        self._most_contents = contents
        self._most_crops = crops
        self._level = ""
        self._evaluation = 0
        self._fixed: dict[int, _Fixed] = {}
        self._graphs: dict[int, _Graph] = {}
        self._crops: dict[int, Picture] = {}
        self._nothing_fixed = not self._content and settings.regions == 1

    def statistics(self, task: PieceTask) -> PieceSums | MissingState:
        """Pass 1. The graph, or else the crop, is kept for pass 2 while there is room."""
        self._enter(task)
        self._graphs.pop(task.index, None)
        self._crops.pop(task.index, None)
        fixed = self._known(task)
        if task.crop is None or fixed is None:
            return MissingState(task.index)
        hold = len(self._graphs) < self._most_graphs
        graph = self._forward(self._tensor(task.crop), task.core, fixed, with_gradient=hold)
        cores = {name: self._core(graph.features[name], name, task.core).detach() for name in self._strides}
        if hold:
            self._graphs[task.index] = graph
        elif len(self._crops) < self._most_crops:
            # A copy: what came through an object store would be held there.
            self._crops[task.index] = np.array(decoded(task.crop))
        unit, dtype = self._network.unit, np.float32 if task.coding == "half" else np.float64
        return PieceSums(
            index=task.index,
            positions={name: core.shape[2] * core.shape[3] for name, core in cores.items()},
            styles={
                name: folded(layer_sums(by_position(cores[name]), fixed.shares.get(name), unit), dtype)
                for name in self._style
            },
            content_errors={
                name: unit**2 * difference_sum(by_position(cores[name]), by_position(fixed.content[name]))
                for name in self._content
            },
            holds_graph=hold,
            holds_content=self._nothing_fixed or task.index in self._fixed,
            holds_crop=task.index in self._crops,
        )

    def gradient(self, task: PieceTask, derivatives: Derivatives) -> PieceGradient | MissingState:
        """Pass 2. Runs the crop again where its graph was not kept, or the crop is sent all the same."""
        self._enter(task)
        graph, kept = self._graphs.pop(task.index, None), self._crops.pop(task.index, None)
        if graph is None or task.crop is not None:
            fixed, crop = self._known(task), kept if task.crop is None else task.crop
            if fixed is None or crop is None:
                return MissingState(task.index)
            graph = self._forward(self._tensor(crop), task.core, fixed, with_gradient=True)
        gradient = self._scaled_gradient(task, graph, derivatives)
        if self._settings.grey:
            gradient = to_grey(gradient)
        pixels: Picture = gradient[0].permute(1, 2, 0).cpu().numpy()
        return PieceGradient(task.index, coded_gradient(np.ascontiguousarray(pixels), task.coding))

    def _scaled_gradient(self, task: PieceTask, graph: _Graph, derivatives: Derivatives) -> Tensor:
        """The gradient with respect to the crop's pixels, (1, 3, H, W), by way of derivatives in range.

        Where it still is not finite, it is returned as it is: the optimizer takes such a step back.
        """
        largest = self._largest_derivative(task.core, graph, derivatives)
        lowered = torch.zeros_like(largest, dtype=torch.int32)
        for _ in range(1 + MOST_LOWERED):
            gradient = self._carry_back(task.core, graph, derivatives, float(seed_scale(largest, lowered)))
            if not bool(left_range(largest, gradient)):
                break
            lowered += 1
            graph = self._forward(graph.image, task.core, graph.fixed, with_gradient=True)
        return gradient

    def _largest_derivative(self, core: Box, graph: _Graph, derivatives: Derivatives) -> Tensor:
        """The largest number of all layers' `_derivative`, (1,); 0 where nothing needs scaling."""
        largest = torch.zeros(1, device=self._network.device)
        if self._network.dtype == torch.float16:
            for name, features in graph.features.items():
                for _, block in self._derivative(name, core, features.detach(), graph, derivatives):
                    largest = torch.maximum(largest, block.abs().amax())
        return largest

    def _carry_back(self, core: Box, graph: _Graph, derivatives: Derivatives, scale: float) -> Tensor:
        """The gradient with respect to the crop's pixels, (1, 3, H, W); the graph is used up."""
        *others, deepest = graph.features
        hooks = []
        for name in others:
            add = partial(self._add_derivative, name, core, graph, derivatives, scale)
            hooks.append(graph.features[name].register_hook(add))  # type: ignore[no-untyped-call]
        output = graph.features[deepest]
        try:
            nothing = torch.zeros_like(output)
            seed = self._add_derivative(deepest, core, graph, derivatives, scale, nothing)
            (gradient,) = torch.autograd.grad(output, graph.image, seed)
        finally:  # where the pass fails, a graph that its own hooks refer to would stay in memory
            for hook in hooks:
                hook.remove()
        return gradient * (self._network.unit**2 / scale)

    def _add_derivative(
        self,
        name: str,
        core: Box,
        graph: _Graph,
        derivatives: Derivatives,
        scale: float,
        grad: Tensor,
    ) -> Tensor:
        """`grad` (1, N, H, W) plus `scale` times the layer's own derivative.

        Formed when the backward pass comes by, so that only one layer's is in memory. The layer is let go.
        """
        features, result = graph.features.pop(name).detach(), grad.clone()
        target = self._core(result, name, core)
        for rows, block in self._derivative(name, core, features, graph, derivatives):
            part = target[:, :, rows]
            part.copy_(part.float().add_(block, alpha=scale))
        return result

    def _derivative(
        self, name: str, core: Box, features: Tensor, graph: _Graph, derivatives: Derivatives
    ) -> Iterator[tuple[slice, Tensor]]:
        """dL / df over u^2 at the core's positions: w (2 D f + d) for the style, 2 c (f - p) for the content.

        The network puts out f = F / u in place of F, u being its unit. Formed in float32, some rows at a
        time: a whole layer in float32 would take more than its graph.
        """
        source = self._core(features, name, core)
        style = self._slopes(name, derivatives, source.device)
        shares, factor = graph.fixed.shares.get(name), derivatives.content_errors.get(name)
        width = source.shape[3]
        height = max(1, _POSITIONS_PER_BLOCK // max(width, 1))
        for top in range(0, source.shape[2], height):
            rows = slice(top, top + height)
            shape = source[:, :, rows].permute(0, 2, 3, 1).shape
            part = by_position(source[:, :, rows]).float()
            block = torch.zeros_like(part)
            for region, (twice, straight) in enumerate(style):
                found = torch.addmm(straight, part, twice)  # D is symmetric
                if shares is not None:
                    found *= shares[top * width : top * width + len(part), region, None]
                block = found if len(style) == 1 else block.add_(found)
            if factor is not None:
                wanted = by_position(graph.fixed.content[name][:, :, rows]).float()
                block = block.add_(part - wanted, alpha=2 * factor)
            yield rows, block.view(shape).permute(0, 3, 1, 2)

    def _slopes(
        self, name: str, derivatives: Derivatives, device: torch.device
    ) -> list[tuple[Tensor, Tensor]]:
        """2 D and d / u of every region; none for a layer without style."""
        if name not in derivatives.products:
            return []
        products = torch.from_numpy(derivatives.products[name]).to(device)
        sums = torch.from_numpy(derivatives.sums[name]).to(device)
        return list(zip(2 * products, sums / self._network.unit, strict=True))

    def _forward(self, image: Tensor, core: Box, fixed: _Fixed, *, with_gradient: bool) -> _Graph:
        check_core(image.shape[2:], core, max(self._strides.values()))
        image = image.detach().requires_grad_(with_gradient)
        with torch.set_grad_enabled(with_gradient):
            return _Graph(image, self._network.features(image, list(self._strides)), fixed)

    def _known(self, task: PieceTask) -> _Fixed | None:
        """The content's features and the regions' shares at the core; None where they are not known.

        Made anew where the content is sent: what was kept may have gone bad.
        """
        if self._nothing_fixed:
            return _Fixed({}, {})
        known = self._fixed.get(task.index)
        if task.content is None:
            return known
        features = {}
        if self._content:
            with torch.no_grad():
                features = self._network.features(self._tensor(task.content), self._content)
        fixed = _Fixed(
            {name: self._core(features[name], name, task.core).clone() for name in self._content},
            core_shares(task.regions, task.core, self._settings.network, self._style, self._network.device),
        )
        if known is not None or len(self._fixed) < self._most_contents:
            self._fixed[task.index] = fixed
        return fixed

    def _core(self, features: Tensor, name: str, core: Box) -> Tensor:
        return core_slice(features, core, self._strides[name])

    def _enter(self, task: PieceTask) -> None:
        """Forget what belongs to another level, and graphs of another evaluation."""
        if task.level != self._level:
            self._level = task.level
            self._fixed.clear()
            self._graphs.clear()
            self._crops.clear()
        if task.evaluation != self._evaluation:
            self._evaluation = task.evaluation
            self._graphs.clear()
            self._crops.clear()

    def _tensor(self, picture: Coded) -> Tensor:
        pixels = np.ascontiguousarray(decoded(picture), dtype=np.float32)
        return torch.from_numpy(pixels).to(self._network.device).permute(2, 0, 1).unsqueeze(0)
