"""The published exact block method, written anew: what tilefarm's exact method is compared with.

Galerne, Raad, Lezama, Morel 2024, "Scaling Painting Style Transfer". The picture is cut into blocks, and
each is grown by a margin on its inner sides. Pass 1 sums the statistics of the inner blocks. Pass 2 runs
every grown block forward again and back, with the derivatives at all its positions, and keeps the gradient
of the inner block's pixels alone. No halo is added, so the margin must be twice the receptive field's
radius: a pixel's gradient comes from positions that see it, and these see as far again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tilefarm.geometry import Box, Size
from tilefarm.plan.halo import Piece, receptive_field
from tilefarm.solve.contract import LevelTargets, Picture, SolverSettings
from tilefarm.solve.folding import folded
from tilefarm.solve.measure import by_position, core_slice, difference_sum, layer_sums
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.objective import active
from tilefarm.solve.tasks import Derivatives, PieceSums
from tilefarm.solve.whole import WholeObjective, WholeSums


@dataclass(frozen=True)
class BlockEvaluation:
    """Loss and gradient of a whole picture."""

    loss: float
    gradient: Picture
    """(height, width, 3), float32."""


def cut_blocks(size: Size, block: int, margin: int) -> tuple[Piece, ...]:
    """Blocks of `block` pixels a side, the last ones shorter, as cores of crops grown by `margin`.

    All in pixels; `block` and `margin` are multiples of the deepest layer's stride. Crops end at the
    picture's border.
    """
    return tuple(
        Piece(
            core=Box(left, top, min(size.width, left + block), min(size.height, top + block)),
            crop=Box(
                max(0, left - margin),
                max(0, top - margin),
                min(size.width, left + block + margin),
                min(size.height, top + block + margin),
            ),
        )
        for top in range(0, size.height, block)
        for left in range(0, size.width, block)
    )


class BlockMethod:
    """Evaluates pictures of one size against one content, whose features are computed once and kept."""

    def __init__(
        self,
        network: FeatureNetwork,
        settings: SolverSettings,
        targets: LevelTargets,
        content: Picture,
        block: int,
        margin: int,
    ) -> None:
        """`content` is (height, width, 3), float32; for `block` and `margin` see `cut_blocks`.

        Total variation takes no part: `settings.tv_weight` must be 0, else ValueError. Of the style only Gram
        matrices of the whole picture do.
        """
        if settings.tv_weight:
            raise ValueError(f"the block method is written for a tv_weight of 0, got {settings.tv_weight}")
        self._network = network
        self._objective = WholeObjective(settings, targets)
        self._style = list(active(settings.style_layers))
        self._content = list(active(settings.content_layers))
        layers = {*self._style, *self._content}
        self._strides = {name: receptive_field(settings.network, name).stride for name in layers}
        height, width = content.shape[:2]
        self._blocks = cut_blocks(Size(width, height), block, margin)
        with torch.no_grad():
            self._contents = [
                network.features(_tensor(content, piece.crop), self._content) for piece in self._blocks
            ]

    def evaluate(self, picture: Picture) -> BlockEvaluation:
        """Loss and gradient at a picture of the content's shape."""
        sums = self._statistics(picture)
        evaluated = self._objective.evaluate(sums, 0.0)
        gradient = np.empty_like(picture)
        for piece, content in zip(self._blocks, self._contents, strict=True):
            inner, outer = piece.core, piece.core_in_crop
            grown = self._block_gradient(_tensor(picture, piece.crop), content, evaluated.derivatives)
            gradient[inner.top : inner.bottom, inner.left : inner.right] = grown[
                outer.top : outer.bottom, outer.left : outer.right
            ]
        return BlockEvaluation(evaluated.losses.total, gradient)

    def _statistics(self, picture: Picture) -> WholeSums:
        """Pass 1: the sums over the inner blocks' positions."""
        sums = WholeSums()
        for number, (piece, content) in enumerate(zip(self._blocks, self._contents, strict=True)):
            styles, errors, positions = {}, {}, {}
            with torch.no_grad():
                features = self._network.features(_tensor(picture, piece.crop), list(self._strides))
            for name, found in features.items():
                inner = by_position(self._inner(found, name, piece))
                positions[name] = len(inner)
                if name in self._style:
                    styles[name] = folded(layer_sums(inner, None, 1.0))
                if name in self._content:
                    errors[name] = difference_sum(inner, by_position(self._inner(content[name], name, piece)))
            sums.add(PieceSums(number, positions, styles, errors, False, False))
        return sums

    def _block_gradient(self, image: Tensor, content: dict[str, Tensor], slopes: Derivatives) -> Picture:
        """Pass 2: the gradient with respect to a grown block's pixels, right for the inner ones."""
        image.requires_grad_()
        features = self._network.features(image, list(self._strides))
        backs = []
        for name, found in features.items():
            values = found.detach().float()
            back = torch.zeros_like(values)
            if name in slopes.products:
                matrix = torch.from_numpy(slopes.products[name][0])
                back += 2 * torch.matmul(matrix, values.flatten(2)).view_as(values)
            if name in slopes.content_errors:
                back += 2 * slopes.content_errors[name] * (values - content[name].float())
            backs.append(back.to(found.dtype))
        (gradient,) = torch.autograd.grad(list(features.values()), image, backs)
        pixels: Picture = gradient[0].permute(1, 2, 0).numpy()
        return pixels

    def _inner(self, features: Tensor, name: str, piece: Piece) -> Tensor:
        return core_slice(features, piece.core_in_crop, self._strides[name])


def _tensor(picture: Picture, box: Box) -> Tensor:
    """A box of a picture as (1, 3, height, width)."""
    pixels = picture[box.top : box.bottom, box.left : box.right].copy()
    return torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0)
