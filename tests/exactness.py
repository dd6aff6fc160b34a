"""The exact method's two passes beside an untiled evaluation that is written here from the formulas."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tilefarm.geometry import Box
from tilefarm.plan.halo import Piece
from tilefarm.solve.coding import decoded
from tilefarm.solve.contract import LevelTargets, Preprocessing, RegionMoments, SolverSettings, Weights
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.pieces import PieceSolver
from tilefarm.solve.tasks import PieceGradient, PieceSums, PieceTask
from tilefarm.solve.whole import WholeObjective, WholeSums
from tilefarm.spec.networks import Convolution, deepest_layer, stages_to

Picture = NDArray[np.float32]


def smooth_picture(width: int, height: int, seed: int) -> Picture:
    """Something between noise and a photograph, shape (height, width, 3)."""
    generator = np.random.default_rng(seed)
    noise = torch.from_numpy(generator.random((1, 3, 9, 9), dtype=np.float32))
    smooth = F.interpolate(noise, (height, width), mode="bicubic", align_corners=False)
    grain = torch.from_numpy(generator.normal(0, 0.05, (1, 3, height, width)).astype(np.float32))
    return (smooth + grain)[0].permute(1, 2, 0).contiguous().numpy()


def targets_of(network: FeatureNetwork, settings: SolverSettings, style: Picture) -> LevelTargets:
    """The moments of a style picture (height, width, 3), which is one region.

    Its features also stand in for what content errors are divided by. The content's own belong there, but
    these are of the same size, so that neither term drowns the other's errors.
    """
    layers = [name for name, _ in (*settings.style_layers, *settings.content_layers)]
    rows = {name: found.flatten(2)[0] for name, found in network.features(_tensor(style), layers).items()}
    return LevelTargets(
        key="test",
        styles={
            name: RegionMoments(rows[name].mean(1)[None].numpy(), _gram(rows[name])[None].numpy())
            for name, _ in settings.style_layers
        },
        content_mean_squares={name: float((rows[name] ** 2).mean()) for name, _ in settings.content_layers},
    )


def untiled(
    settings: SolverSettings, weights: Weights, targets: LevelTargets, image: Picture, content: Picture
) -> tuple[float, Picture]:
    """Loss and gradient of the whole picture in one autograd graph, float32, from the formulas."""
    x = _tensor(image).requires_grad_()
    found = _features(settings, weights, x)
    with torch.no_grad():
        wanted = _features(settings, weights, _tensor(content))
    style = [
        (weight, _style_error(found[n], targets.styles[n].products[0])) for n, weight in settings.style_layers
    ]
    errors = [
        (weight, (found[n] - wanted[n]).square().double().mean() / targets.content_mean_squares[n])
        for n, weight in settings.content_layers
    ]
    total = 1000 * (
        settings.style_weight * _weighted_mean(style)
        + settings.content_weight * 0.05 * _weighted_mean(errors)
    )
    (gradient,) = torch.autograd.grad(total, x)
    return float(total.detach()), gradient[0].permute(1, 2, 0).numpy()


def tiled(
    network: FeatureNetwork,
    settings: SolverSettings,
    targets: LevelTargets,
    image: Picture,
    content: Picture,
    pieces: list[Piece],
    graphs: int = 0,
    regions: Picture | None = None,
    contents: int | None = None,
) -> tuple[float, Picture]:
    """Loss and gradient of the whole picture by the two passes.

    Of so many pieces the graph is kept in between, and what is fixed (None: of all). `regions` are the shares
    (height, width, regions).
    """
    solver = PieceSolver(network, settings, graphs, len(pieces) if contents is None else contents)

    def cut(picture: Picture, box: Box) -> Picture:
        return picture[box.top : box.bottom, box.left : box.right]

    def task(index: int, crop: bool) -> PieceTask:
        piece = pieces[index]
        return PieceTask(
            index,
            "level",
            piece.core_in_crop,
            cut(image, piece.crop) if crop else None,
            cut(content, piece.crop),
            regions=None if regions is None else cut(regions, piece.crop),
        )

    sums = WholeSums()
    held = {}
    for index in range(len(pieces)):
        part = solver.statistics(task(index, crop=True))
        assert isinstance(part, PieceSums)
        held[index] = part.holds_graph
        sums.add(part)
    assert sum(held.values()) == min(graphs, len(pieces))
    evaluated = WholeObjective(settings, targets).evaluate(sums, 0.0)
    gradient = np.zeros_like(image)
    for index, piece in enumerate(pieces):
        part2 = solver.gradient(task(index, crop=not held[index]), evaluated.derivatives)
        assert isinstance(part2, PieceGradient)
        cut(gradient, piece.crop)[...] += decoded(part2.gradient)
    return evaluated.losses.total, gradient


def relative_error(found: Picture, wanted: Picture) -> float:
    """|found - wanted| / |wanted| in the Euclidean norm."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def _features(settings: SolverSettings, weights: Weights, picture: torch.Tensor) -> dict[str, torch.Tensor]:
    """Rectified outputs of all layers down to the deepest of the objective's.

    Channels-last like the network: other layouts take other convolution kernels, whose rounding turns
    near-ties of the max pooling around. Two untiled evaluations then differ by 1e-3 already.
    """
    layers = {name for name, _ in (*settings.content_layers, *settings.style_layers)}
    x = _preprocessed(picture, weights.preprocessing).contiguous(memory_format=torch.channels_last)
    if settings.network == "squeezenet":
        found = squeezenet_features(weights, x, settings.pooling)
        return {name: found[name] for name in layers}
    if settings.padding != "zeros":
        x = F.pad(x, (1, 1, 1, 1), mode=settings.padding)
    found, padding = {}, int(settings.padding == "zeros")
    for stage in stages_to(settings.network, deepest_layer(settings.network, layers)):
        if isinstance(stage, Convolution):
            weight, bias = (torch.from_numpy(weights.arrays[f"{stage.name}.{k}"]) for k in ("weight", "bias"))
            x = F.relu(
                F.conv2d(x, weight.contiguous(memory_format=torch.channels_last), bias, padding=padding)
            )
            padding = 1
            if stage.output in layers:
                found[stage.output] = x
        else:
            x = pooled(x, settings.pooling, 2)
    return found


def squeezenet_features(weights: Weights, x: torch.Tensor, pooling: str) -> dict[str, torch.Tensor]:
    """All layers of SqueezeNet 1.1 for a preprocessed picture, written out in the picture's dtype."""

    def convolved(y: torch.Tensor, name: str, stride: int = 1, padding: int = 0) -> torch.Tensor:
        weight, bias = (torch.from_numpy(weights.arrays[f"{name}.{k}"]).to(x) for k in ("weight", "bias"))
        weight = weight.contiguous(memory_format=torch.channels_last)
        return F.relu(F.conv2d(y, weight, bias, stride=stride, padding=padding))

    found = {"relu1": convolved(x, "conv1", stride=2)}
    x = found["relu1"]
    for fire in [f"fire{number}" for number in range(2, 10)]:
        if fire in ("fire2", "fire4", "fire6"):
            x = pooled(x, pooling, 3)
        squeezed = convolved(x, f"{fire}.squeeze")
        branches = [convolved(squeezed, f"{fire}.expand{k}x{k}", padding=k // 2) for k in (1, 3)]
        found[fire] = x = torch.cat(branches, 1)
    return found


def pooled(x: torch.Tensor, pooling: str, kernel: int) -> torch.Tensor:
    """Cells of 2x2, or windows of 3x3 of which incomplete ones count, by torch's own poolings, rescaled."""
    ceil = kernel == 3
    if pooling == "max":
        return F.max_pool2d(x, kernel, 2, ceil_mode=ceil)
    if pooling == "average":
        return {2: 1.37, 3: 1.47}[kernel] * F.avg_pool2d(x, kernel, 2, ceil_mode=ceil)
    total = F.avg_pool2d(x.square(), kernel, 2, ceil_mode=ceil, divisor_override=1)
    positive = total > 0  # the root has no gradient at 0
    return {2: 0.64, 3: 0.46}[kernel] * torch.where(positive, torch.where(positive, total, 1.0).sqrt(), 0.0)


def _preprocessed(picture: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """caffe: BGR, 0..255, minus the mean. torchvision: minus the mean, divided by the deviation."""
    if preprocessing == "caffe":
        return picture.flip(1) * 255 - _per_channel(103.939, 116.779, 123.68)
    return (picture - _per_channel(0.485, 0.456, 0.406)) / _per_channel(0.229, 0.224, 0.225)


def _per_channel(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


def _style_error(features: torch.Tensor, target: NDArray[np.float32]) -> torch.Tensor:
    """sum((G - A)^2) / sum(A^2) with G = F F^T / positions."""
    wanted = torch.from_numpy(target).double()
    difference = _gram(features.flatten(2)[0]).double() - wanted
    return difference.square().sum() / wanted.square().sum()


def _gram(rows: torch.Tensor) -> torch.Tensor:
    """F F^T / positions of (channels, positions)."""
    return rows @ rows.T / rows.shape[1]


def _weighted_mean(terms: list[tuple[float, torch.Tensor]]) -> torch.Tensor:
    """sum(w t) / sum(w) of pairs (w, t)."""
    weights = torch.tensor([weight for weight, _ in terms], dtype=torch.float64)
    return (weights * torch.stack([term for _, term in terms])).sum() / weights.sum()


def _tensor(picture: Picture) -> torch.Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].contiguous()
