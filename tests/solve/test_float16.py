"""float16: activations and gradients stay within its range, or the user is told.

The reference is a float64 evaluation written out here. Rounding features also moves the kinks of rectifiers
and poolings, at which the gradient jumps; that changes it more than the rounding of gradients does. So the
reference rounds features too, passes gradients through the rounding, and does all else in float64.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tests.exactness import Picture, relative_error, smooth_picture, targets_of, tiled, untiled
from tests.moments import gram_slopes
from tilefarm.errors import TilefarmError
from tilefarm.geometry import Box, Size
from tilefarm.plan.halo import partition, receptive_field
from tilefarm.solve import objective, pieces, scaling
from tilefarm.solve.backend import make_network
from tilefarm.solve.coding import decoded
from tilefarm.solve.contract import LevelTargets, SolverSettings, Weights
from tilefarm.solve.measure import measure
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.objective import TileObjective
from tilefarm.solve.pieces import PieceSolver
from tilefarm.solve.scaling import left_range, seed_scale
from tilefarm.solve.tasks import MeasureTask, PieceGradient, PieceTask, TileTask
from tilefarm.solve.tile import solve_tiles
from tilefarm.spec.networks import Convolution, stages_to

SETTINGS = SolverSettings(
    network="vgg19",
    pooling="max",
    precision="float16",
    content_layers=(("relu2_2", 1.0), ("relu3_1", 1.0)),
    style_layers=(("relu1_1", 1.0), ("relu2_1", 1.0), ("relu3_1", 1.0)),
    content_weight=1.0,
    style_weight=1.0,
    tv_weight=0.0,
    history=5,
)
PRINT_SCALE = 2.0**-27
"""About 1e-8; a power of two changes nothing but the size of a gradient."""
WIDTH, HEIGHT = 40, 24
IMAGE, CONTENT, STYLE = (smooth_picture(WIDTH, HEIGHT, seed) for seed in (1, 2, 3))
WHOLE = list(partition(Size(WIDTH, HEIGHT), 64, receptive_field("vgg19", "relu3_1")))
CUT = list(partition(Size(WIDTH, HEIGHT), 24, receptive_field("vgg19", "relu3_1")))


@pytest.fixture(scope="module")
def network(bundled: Weights) -> FeatureNetwork:
    return make_network(SETTINGS, bundled, "cpu")


@pytest.fixture(scope="module")
def targets(bundled: Weights) -> LevelTargets:
    return targets_of(make_network(replace(SETTINGS, precision="float32"), bundled, "cpu"), SETTINGS, STYLE)


@pytest.fixture(scope="module")
def wanted(bundled: Weights, targets: LevelTargets) -> Picture:
    return reference_gradient(bundled, targets, bits=11)


def reference_gradient(weights: Weights, targets: LevelTargets, bits: int) -> Picture:
    x = tensor(IMAGE).double().requires_grad_()
    found, content = (reference_features(weights, y, bits) for y in (x, tensor(CONTENT).double()))
    total = torch.zeros((), dtype=torch.float64)
    for name, _ in SETTINGS.style_layers:
        rows, target = found[name].flatten(2)[0], torch.from_numpy(targets.styles[name].products[0]).double()
        total = (
            total + 1000 / 3 * (rows @ rows.T / rows.shape[1] - target).square().sum() / target.square().sum()
        )
    for name, _ in SETTINGS.content_layers:
        error = (found[name] - content[name].detach()).square().mean()
        total = total + 1000 / 2 * 0.05 * error / targets.content_mean_squares[name]
    (gradient,) = torch.autograd.grad(total, x)
    return gradient[0].permute(1, 2, 0).float().numpy()


def reference_features(weights: Weights, picture: Tensor, bits: int) -> dict[str, Tensor]:
    """Features up to relu3_1, of so many bits, with gradients that know nothing of the rounding."""
    mean = torch.tensor([103.939, 116.779, 123.68], dtype=torch.float64).view(1, 3, 1, 1)
    x = rounded(picture.flip(1) * 255 - mean, min(2 * bits, 53))  # a picture enters in two parts
    found = {}
    for stage in stages_to("vgg19", "relu3_1"):
        if isinstance(stage, Convolution):
            kinds = (weights.arrays[f"{stage.name}.{kind}"] for kind in ("weight", "bias"))
            weight, bias = (rounded(torch.from_numpy(values).double(), bits) for values in kinds)
            found[stage.output] = x = rounded(F.conv2d(x, weight, bias, padding=1), bits).relu()
        else:
            x = F.max_pool2d(x, 2)
    return found


def rounded(x: Tensor, bits: int) -> Tensor:
    """To so many significant bits, whatever the size."""
    mantissa, exponent = torch.frexp(x.detach())
    return x + (torch.ldexp(torch.round(mantissa * 2**bits) / 2**bits, exponent) - x.detach())


def tensor(*pictures: Picture) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def tile_gradients(
    network: FeatureNetwork, settings: SolverSettings, targets: LevelTargets, *images: Picture
) -> NDArray[np.float32]:
    """Of tiles with the same content, (B, height, width, 3)."""
    content = tensor(*[CONTENT] * len(images))
    _, gradient = TileObjective(network, settings, targets, content).evaluate(tensor(*images))
    result: NDArray[np.float32] = gradient.permute(0, 2, 3, 1).numpy()
    return result


def at_print_scale() -> SolverSettings:
    """All derivatives are smaller by that factor, as they are where there are more positions by it."""
    return replace(SETTINGS, style_weight=PRINT_SCALE, content_weight=PRINT_SCALE)


# ---- gradients ----------------------------------------------------------------------------------------


def test_gradients_are_those_of_float64(
    network: FeatureNetwork, bundled: Weights, targets: LevelTargets, wanted: Picture
) -> None:
    assert len(CUT) > 1
    loss, recomputed = tiled(network, SETTINGS, targets, IMAGE, CONTENT, CUT)
    kept = tiled(network, SETTINGS, targets, IMAGE, CONTENT, CUT, graphs=len(CUT))[1]
    assert relative_error(recomputed, wanted) < 1e-3
    assert relative_error(tile_gradients(network, SETTINGS, targets, IMAGE)[0], wanted) < 1e-3
    np.testing.assert_array_equal(kept, recomputed)
    high = replace(SETTINGS, precision="float32")
    assert loss == pytest.approx(untiled(high, bundled, targets, IMAGE, CONTENT)[0], rel=1e-3)


def test_kinks_that_rounding_moves_cost_less_than_in_bfloat16(
    network: FeatureNetwork, bundled: Weights, targets: LevelTargets
) -> None:
    exact = reference_gradient(bundled, targets, bits=53)
    low = replace(SETTINGS, precision="bfloat16")
    coarse = tile_gradients(make_network(low, bundled, "cpu"), low, targets, IMAGE)[0]
    error = relative_error(tile_gradients(network, SETTINGS, targets, IMAGE)[0], exact)
    assert error < 0.5 * relative_error(coarse, exact)


def test_nothing_is_lost_at_print_scale(
    network: FeatureNetwork, targets: LevelTargets, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gradients(settings: SolverSettings) -> list[Picture]:
        return [
            tile_gradients(network, settings, targets, IMAGE)[0],
            tiled(network, settings, targets, IMAGE, CONTENT, WHOLE)[1],
        ]

    for large, small in zip(gradients(SETTINGS), gradients(at_print_scale()), strict=True):
        np.testing.assert_array_equal(small, large * np.float32(PRINT_SCALE))
    for module in (objective, pieces):
        monkeypatch.setattr(module, "seed_scale", lambda largest, lowered: torch.ones_like(largest))
    for lost in gradients(at_print_scale()):
        assert not lost.any(), "without scaling everything is too small for float16"


class Exaggerated:
    """`seed_scale`, too large for the first tile until its gradient has left the range so many times."""

    def __init__(self, times: int) -> None:
        self._times = times
        self.calls = 0

    def __call__(self, largest: Tensor, lowered: Tensor) -> Tensor:
        self.calls += 1
        too_large = (lowered < self._times) & (torch.arange(len(largest)) == 0)
        return seed_scale(largest, lowered) * torch.where(too_large, 2.0**30, 1.0)


def test_a_tile_s_gradient_that_leaves_the_range_is_formed_again_and_its_neighbour_s_is_the_same(
    network: FeatureNetwork, targets: LevelTargets, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = tile_gradients(network, SETTINGS, targets, IMAGE, STYLE)
    monkeypatch.setattr(objective, "seed_scale", exaggerated := Exaggerated(2))
    found = tile_gradients(network, SETTINGS, targets, IMAGE, STYLE)
    assert exaggerated.calls == 3
    assert relative_error(found[0], wanted[0]) < 1e-3
    np.testing.assert_array_equal(found[1], wanted[1])


def test_a_piece_s_gradient_that_leaves_the_range_is_formed_again(
    network: FeatureNetwork, targets: LevelTargets, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = tiled(network, SETTINGS, targets, IMAGE, CONTENT, WHOLE)[1]
    monkeypatch.setattr(pieces, "seed_scale", exaggerated := Exaggerated(2))
    for graphs in (0, 1):
        found = tiled(network, SETTINGS, targets, IMAGE, CONTENT, WHOLE, graphs)[1]
        assert relative_error(found, wanted) < 1e-3
    assert exaggerated.calls == 6


def test_a_gradient_that_never_fits_is_told_at_the_start_or_handed_back(
    network: FeatureNetwork, targets: LevelTargets, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (objective, pieces):
        monkeypatch.setattr(module, "seed_scale", Exaggerated(99))
    with pytest.raises(TilefarmError, match=r"tile 7 .*precision float16.*set compute.precision to float32"):
        solve_tiles(network, SETTINGS, targets, [TileTask(7, IMAGE, CONTENT, 1)])
    assert not np.isfinite(tiled(network, SETTINGS, targets, IMAGE, CONTENT, WHOLE)[1]).all()


def test_derivatives_that_are_not_finite_are_handed_back_for_the_optimizer_to_notice(
    network: FeatureNetwork, targets: LevelTargets
) -> None:
    """It takes such a step back; an error would end the run."""
    wild = STYLE.copy()
    wild[3, 4] = np.inf
    gradients = tile_gradients(network, SETTINGS, targets, wild, IMAGE)
    assert not np.isfinite(gradients[0]).all()
    np.testing.assert_array_equal(gradients[1], tile_gradients(network, SETTINGS, targets, STYLE, IMAGE)[1])
    solver = PieceSolver(network, SETTINGS, 0, contents=0)
    slopes = gram_slopes({"relu1_1": np.full((64, 64), np.nan, np.float32)}, {})
    part = solver.gradient(PieceTask(0, "level", Box(0, 0, WIDTH, HEIGHT), IMAGE, CONTENT), slopes)
    assert isinstance(part, PieceGradient)
    assert not np.isfinite(decoded(part.gradient)).any()


def test_scales_are_powers_of_two_at_one_height() -> None:
    largest = torch.tensor([3e-30, 1e-8, 1.0, 7.0, 1e20, 0.0, float("nan"), float("inf")])
    none = torch.zeros(8, dtype=torch.int32)
    scale = seed_scale(largest, none)
    assert set(torch.frexp(scale).mantissa.tolist()) == {0.5}
    height = (largest * scale)[:5]
    assert bool((height >= 2.0 ** (scaling._HEIGHT - 1)).all())
    assert bool((height < 2.0**scaling._HEIGHT).all())
    assert scale[5:].tolist() == [1.0, 1.0, 1.0]
    assert torch.equal(seed_scale(largest, none + 2)[:5], scale[:5] / 4096)
    gradient = torch.zeros(8, 3, 2, 2)
    gradient[1:, 1, 0, 1] = float("nan")
    assert left_range(largest, gradient).tolist() == [False, True, True, True, True, False, False, False]


# ---- activations --------------------------------------------------------------------------------------


def dots(overshoot: float) -> Picture:
    """Blue dots on yellow, the strongest pattern that was found, beyond 0..1 by so much on both sides."""
    y, x = (np.mod(axis, 8) - 4.0 for axis in np.mgrid[0:64, 0:64])
    dot = (x**2 + y**2 < 2.8**2)[..., None]
    picture = np.where(dot, [0.0, 0.0, 1.0], [1.0, 1.0, 0.0])
    return (picture * (1 + 2 * overshoot) - overshoot).astype(np.float32)


def test_features_beyond_the_range_of_float16_are_those_of_float32(bundled: Weights) -> None:
    layers = ["relu3_4", "relu4_1"]
    low, high = (FeatureNetwork("vgg19", bundled, layers, dtype=t) for t in (torch.float16, torch.float32))
    found, wanted = (each.features(tensor(dots(0.5)), layers) for each in (low, high))
    assert float(wanted["relu3_4"].max()) > 65504
    assert (low.unit, high.unit) == (64.0, 1.0)
    for name in layers:
        assert found[name].dtype == torch.float16
        error = (found[name].float() * low.unit - wanted[name]).norm() / wanted[name].norm()
        assert float(error) < 2e-3


def test_statistics_are_in_true_size_or_an_error(bundled: Weights, network: FeatureNetwork) -> None:
    high = replace(SETTINGS, precision="float32")
    whole = Box(0, 0, WIDTH, HEIGHT)
    for kind in ("style", "content"):
        task = MeasureTask(4, STYLE, whole, kind)
        found = measure(network, SETTINGS, task)
        wanted = measure(make_network(high, bundled, "cpu"), high, task)
        for name, sums in wanted.styles.items():
            error = np.linalg.norm(found.styles[name].products - sums.products)
            assert error < 1e-3 * np.linalg.norm(sums.products)
        assert found.squares == pytest.approx(wanted.squares, rel=1e-3)
        wild = STYLE.copy()
        wild[5, 5] = np.inf
        with pytest.raises(TilefarmError, match=rf"{kind}'s features in piece 4 .*precision float16"):
            measure(network, SETTINGS, replace(task, crop=wild))
