"""Every preset beside the loss of the system that it is named after, written from what was published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.exactness import Picture, smooth_picture, targets_of, tiled
from tilefarm.geometry import Size
from tilefarm.plan.halo import partition, receptive_field
from tilefarm.rundir.journal import Started
from tilefarm.settings import solver_settings
from tilefarm.solve.contract import SolverSettings, Weights
from tilefarm.solve.lbfgs import minimize
from tilefarm.solve.losses import total_variation
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.objective import TileObjective
from tilefarm.solve.search import Status
from tilefarm.spec.load import load_job
from tilefarm.spec.presets import PRESETS

Features = Mapping[str, Tensor]
"""By layer, (N, h, w) in float64."""
STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
SIZE, STYLE_SIZE = Size(112, 80), Size(70, 60)


def rows(features: Tensor) -> Tensor:
    return features.flatten(1)


def gatys2015(found: Features, content: Features, style: Features) -> Tensor:
    """alpha L_content + beta L_style, equations 1, 4, 5 and 7, for pictures of 512x512 pixels.

    Sums over positions there have so many times more terms than here, and Gram matrices are such sums.
    """
    more = 64 * 64 / found["relu4_2"][0].numel()
    loss = 1e-3 * 0.5 * more * (found["relu4_2"] - content["relu4_2"]).square().sum()
    for number, layer in enumerate(STYLE):
        n, m = len(found[layer]), (512 >> number) ** 2
        f, p = rows(found[layer]), rows(style[layer])
        g, a = f @ f.T * (m / f.shape[1]), p @ p.T * (m / p.shape[1])
        loss = loss + 0.2 * (g - a).square().sum() / (4 * n**2 * m**2)
    return loss


def nuffer2016(found: Features, content: Features, style: Features) -> Tensor:
    """Of tiles of 896 pixels: layer_style_loss and content_loss of loss.py; layers count 1, 3, 9, 27, 81."""
    loss = 100 * (found["relu4_2"] - content["relu4_2"]).square().mean()
    for number, layer in enumerate(STYLE):
        n, m = len(found[layer]), (896 >> number) ** 2
        f, p = rows(found[layer]), rows(style[layer])
        g, a = f @ f.T * (m / f.shape[1]), p @ p.T * (m / p.shape[1])
        loss = loss + 3**number / (1 + 3 + 9 + 27 + 81) * (g - a).square().sum() / (n * m)
    return loss


def neural_style_pt(found: Features, content: Features, style: Features) -> Tensor:
    """MSE of features times 5, and of Gram matrices over the number of features times 100."""
    loss = 5 * F.mse_loss(found["relu4_2"], content["relu4_2"])
    for layer in STYLE:
        f, p = rows(found[layer]), rows(style[layer])
        loss = loss + 100 * F.mse_loss(f @ f.T / f.numel(), p @ p.T / p.numel())
    return loss


def spst(found: Features, content: Features, style: Features) -> Tensor:
    """The weights 1e3 / n^2, and those times n^2 wmeanstd / 100 with wmeanstd = 1000, of mean squares."""
    loss = F.mse_loss(found["relu4_2"], content["relu4_2"])
    for layer, n in zip(STYLE, (64, 128, 256, 512, 512), strict=True):
        f, p = rows(found[layer]), rows(style[layer])
        loss = loss + 1e3 / n**2 * F.mse_loss(f @ f.T / f.shape[1], p @ p.T / p.shape[1])
        weight = 1e3 / n**2 * n**2 * 1000 / 100
        loss = loss + weight * F.mse_loss(f.mean(1), p.mean(1))
        loss = loss + weight * F.mse_loss(f.std(1, correction=0), p.std(1, correction=0))
    return loss


def crowsonkb(found: Features, content: Features, style: Features) -> Tensor:
    """StyleLossW2 with its layer weights, and the mean square of features times 0.015."""
    loss = 0.015 * F.mse_loss(found["relu4_2"], content["relu4_2"])
    for layer, weight in zip(STYLE, (256, 64, 16, 4, 1), strict=True):
        f, p = rows(found[layer]), rows(style[layer])
        (c, m), (wanted, aim) = covariance(f), covariance(p)
        half = root(wanted)
        spread = (c + wanted - 2 * root(half @ c @ half)).diagonal().mean()
        loss = loss + weight / 341 * ((m - aim).square().mean() + spread)
    return loss


def covariance(features: Tensor) -> tuple[Tensor, Tensor]:
    mean = features.mean(1)
    product = features @ features.T / features.shape[1]
    return product - torch.outer(mean, mean) + 1e-4 * torch.eye(len(mean), dtype=mean.dtype), mean


def root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    half: Tensor = vectors @ torch.diag(values.clamp_min(0).sqrt()) @ vectors.T
    return half


PUBLISHED: dict[str, Callable[[Features, Features, Features], Tensor]] = {
    "gatys2015": gatys2015,
    "nuffer2016": nuffer2016,
    "neural-style-pt": neural_style_pt,
    "spst": spst,
    "crowsonkb": crowsonkb,
}


def settings_of(preset: str, folder: Path) -> SolverSettings:
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(b"x")
    (folder / "job.yaml").write_text(
        f"{{content: a.jpg, style: b.jpg, output: {{path: c.tif}}, preset: {preset}}}"
    )
    started = Started(version="1", weights_sha256="", precision="float32", batch=1)
    return solver_settings(load_job(folder / "job.yaml"), started)


def network_of(settings: SolverSettings, weights: Weights, dtype: torch.dtype) -> FeatureNetwork:
    return FeatureNetwork(
        "vgg19", weights, STYLE, pooling=settings.pooling, padding=settings.padding, dtype=dtype
    )


def tensor(picture: Picture) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].contiguous()


@pytest.mark.parametrize("preset", PRESETS)
def test_one_evaluation_gives_the_published_loss(preset: str, bundled: Weights, tmp_path: Path) -> None:
    settings = replace(settings_of(preset, tmp_path), tv_weight=0.0)
    image, content = (smooth_picture(SIZE.width, SIZE.height, seed) for seed in (1, 2))
    style = smooth_picture(STYLE_SIZE.width, STYLE_SIZE.height, 3)
    exact = network_of(settings, bundled, torch.float64)
    features = [
        {name: found[0] for name, found in exact.features(tensor(picture).double(), layers).items()}
        for picture, layers in ((image, [*STYLE, "relu4_2"]), (content, ["relu4_2"]), (style, STYLE))
    ]
    published = float(PUBLISHED[preset](*features))
    network = network_of(settings, bundled, torch.float32)
    targets = targets_of(network, settings, style)
    pieces = list(partition(SIZE, 64, receptive_field("vgg19", "relu5_1")))
    assert len(pieces) > 1
    by_pieces, _ = tiled(network, settings, targets, image, content, pieces)
    by_tile = TileObjective(network, settings, targets, tensor(content)).losses(tensor(image))
    assert by_pieces == pytest.approx(published, rel=1e-4)
    assert float(by_tile.total) == pytest.approx(published, rel=1e-4)


def weighted_tv(preset: str, folder: Path, pixels: Tensor) -> float:
    settings = settings_of(preset, folder)
    return settings.tv_weight * float(total_variation(pixels, settings.tv_exponent))


def test_total_variations_that_can_be_expressed(tmp_path: Path) -> None:
    picture = tensor(smooth_picture(512, 384, 4)).double()
    # neural-style-pt: a sum over values of 0..256, for its own size of picture.
    scaled = 256 * picture
    down, across = scaled.diff(dim=2).abs().sum(), scaled.diff(dim=3).abs().sum()
    assert weighted_tv("neural-style-pt", tmp_path, picture) == pytest.approx(
        1e-3 * float(down + across), rel=3e-3
    )
    # style-transfer-pytorch: a stencil of nine points, the same for gradients that go straight on.
    y, x = np.mgrid[0:100, 0:100] / 100
    ramp = torch.from_numpy(np.stack([0.7 * x + 0.1 * y, x - 0.5 * y, 0.9 * y])).double()[None]
    inner = ramp[:, :, 1:-1, 1:-1]
    d1 = (ramp[:, :, 1:-1, 2:] - inner).square().mean() / 3
    d2 = (ramp[:, :, 2:, 1:-1] - inner).square().mean() / 3
    d3 = (ramp[:, :, 1:, 1:] - ramp[:, :, :-1, :-1]).square().mean() / 12
    d4 = (ramp[:, :, 1:, :-1] - ramp[:, :, :-1, 1:]).square().mean() / 12
    assert weighted_tv("crowsonkb", tmp_path, ramp) == pytest.approx(float(2 * 2 * (d1 + d2 + d3 + d4)))
    # large_neural_style: the two directions together, which are the same where only one of them changes.
    stripes = torch.from_numpy(np.broadcast_to(np.sin(20 * x), (3, 100, 100)).copy()).double()[None]
    squares = (255 * stripes.diff(dim=3)).square()
    assert weighted_tv("nuffer2016", tmp_path, stripes) == pytest.approx(0.1 * float((squares**1.25).mean()))
    assert weighted_tv("gatys2015", tmp_path, picture) == weighted_tv("spst", tmp_path, picture) == 0


def with_features_of_size_one(weights: Weights) -> Weights:
    """The same network with features divided by 58, like one that is trained on pixels of deviation 1."""
    return replace(
        weights,
        arrays={
            name: values / np.float32(58) if name.endswith("bias") or name == "conv1_1.weight" else values
            for name, values in weights.arrays.items()
        },
    )


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "crowsonkb"])
def test_small_features_do_not_stop_lbfgs(preset: str, bundled: Weights, tmp_path: Path) -> None:
    """Published factors are not followed by one of ours: a gradient could be too small for L-BFGS to move."""
    settings = settings_of(preset, tmp_path)
    content, style = (smooth_picture(48, 48, seed) for seed in (1, 2))
    network = network_of(settings, with_features_of_size_one(bundled), torch.float32)
    targets = targets_of(network, settings, style)
    objective = TileObjective(network, settings, targets, tensor(content))
    start = tensor(content if preset in ("nuffer2016", "spst") else smooth_picture(48, 48, 3))

    def evaluate(vectors: Tensor) -> tuple[Tensor, Tensor]:
        losses, gradient = objective.evaluate(vectors.view_as(start))
        return losses.total, gradient.flatten(1)

    assert float(evaluate(start.flatten(1))[1].abs().sum()) > 1
    found = minimize(
        evaluate,
        lambda vectors: objective.losses(vectors.view_as(start)).total,
        start.flatten(1),
        iterations=12,
        history=10,
        largest_increase=2.0,
    )
    assert found.status == (Status.ITERATIONS,)
    assert found.last[0] < 0.7 * found.first[0]
