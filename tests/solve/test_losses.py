from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tilefarm.solve.contract import Picture, Weights
from tilefarm.solve.losses import content_error, moments, style_error, total_variation
from tilefarm.solve.moments import Moments
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.statistics import comparison
from tilefarm.solve.sums import sum_per_tile


def gram(features: torch.Tensor) -> torch.Tensor:
    """(B, N, N)."""
    product: torch.Tensor = moments(features)[0].product[:, 0]
    return product


def gram_error(features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The style error against a Gram matrix (N, N) and nothing else, shape (B,)."""
    style = Moments(torch.zeros(1, len(target)), target.unsqueeze(0))
    return style_error(features, comparison((("gram", 1.0),), 0.0, style))


sizes = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 30), st.integers(1, 30))


@settings(deadline=None, max_examples=40)
@given(shape=sizes, seed=st.integers(0, 1000), channels_last=st.booleans())
def test_values_are_those_of_the_formulas(
    shape: tuple[int, int, int, int], seed: int, channels_last: bool
) -> None:
    generator = np.random.default_rng(seed)
    f, p = generator.uniform(-1, 1, (2, *shape))
    batch, _, height, width = shape
    m = height * width
    layout = torch.channels_last if channels_last else torch.contiguous_format
    features, content = (torch.from_numpy(v).float().contiguous(memory_format=layout) for v in (f, p))

    g = np.einsum("bnhw,bmhw->bnm", f, f) / m
    found = gram(features)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), g, atol=1e-5)

    a = np.einsum("nhw,mhw->nm", p[0], p[0]) / m
    e = np.array([((g[b] - a) ** 2).sum() / (a**2).sum() for b in range(batch)])
    np.testing.assert_allclose(gram_error(features, torch.from_numpy(a).float()), e, rtol=1e-3, atol=1e-5)

    c = np.array([np.mean((f[b] - p[b]) ** 2) / 0.7 for b in range(batch)])
    np.testing.assert_allclose(content_error(features, content, 0.7), c, rtol=1e-4)


def test_half_precision_features_are_accumulated_in_float32() -> None:
    """In bfloat16 a sum of ones stops growing at 256."""
    ones = torch.ones(1, 2, 64, 64, dtype=torch.bfloat16)
    assert gram(ones).tolist() == [[[1.0, 1.0], [1.0, 1.0]]]
    assert content_error(ones, torch.zeros_like(ones), 1.0).tolist() == [1.0]


def test_content_that_activates_nothing_does_not_divide_by_zero() -> None:
    features = torch.full((1, 4, 3, 3), 2.0)
    assert content_error(features, torch.zeros_like(features), 0.0).tolist() == [4.0]


def test_total_variation_of_known_pictures() -> None:
    y, x = np.mgrid[0:6, 0:9]
    board = torch.from_numpy(((x + y) % 2).astype(np.float32)).expand(2, 3, 6, 9).clone()
    board[1] *= 0.5
    assert total_variation(board).tolist() == [2.0, 0.5]
    stripes = torch.from_numpy((x % 2).astype(np.float32)).expand(1, 3, 6, 9)
    assert total_variation(stripes).tolist() == [1.0]
    assert total_variation(torch.ones(1, 3, 5, 5)).tolist() == [0.0]
    assert total_variation(stripes[:, :, :1]).tolist() == [1.0]


@pytest.mark.parametrize("length", [0, 1, 4095, 4096, 4097, 100_000, 3 * 700 * 701])
@pytest.mark.parametrize("batch", [1, 3])
def test_sums_are_right_and_do_not_depend_on_threads(length: int, batch: int) -> None:
    before = torch.get_num_threads()
    for seed in range(6):  # one plain torch sum in three gives the same bits by chance
        values = torch.randn(batch, length, generator=torch.Generator().manual_seed(seed))
        sums = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            sums.append(sum_per_tile(values))
        assert torch.equal(sums[0], sums[1])
        np.testing.assert_allclose(sums[0], values.double().sum(1), rtol=0, atol=1e-6 * length)
    torch.set_num_threads(before)


def test_a_very_long_sum_is_right() -> None:
    values = torch.ones(1, 4096 * 4097 + 6, dtype=torch.float32)
    assert sum_per_tile(values).tolist() == [values.shape[1]]


def periodic_picture(side: int, seed: int) -> Picture:
    """Waves that continue across the picture's edges, so that repeating it makes no seams."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] * 2 * np.pi / side
    result = np.full((side, side, 3), 0.5)
    for _ in range(8):
        fy, fx = generator.integers(-12, 13, 2)
        wave = np.sin(fy * y + fx * x + generator.uniform(0, 6))
        result += wave[..., None] * generator.uniform(-0.12, 0.12, 3)
    return np.clip(result + generator.normal(0, 0.02, result.shape), 0, 1).astype(np.float32)


def test_style_loss_hardly_changes_when_picture_and_style_are_repeated(bundled: Weights) -> None:
    """What makes weights found on a preview hold at print scale; sums over positions would grow fourfold.

    What remains is the network's zero padding, whose share of the deepest layer halves.
    """
    network = FeatureNetwork("vgg19", bundled, ["relu5_1"])
    layers = [f"relu{block}_1" for block in range(1, 6)]
    losses = []
    for repeats in (1, 2):
        image, style = (
            torch.from_numpy(np.tile(periodic_picture(320, seed), (repeats, repeats, 1)))
            .permute(2, 0, 1)
            .unsqueeze(0)
            for seed in (4, 5)
        )
        with torch.no_grad():
            ours, theirs = network.features(image, layers), network.features(style, layers)
            losses.append([float(gram_error(ours[n], gram(theirs[n])[0])) for n in layers])
    once, twice = np.mean(losses, axis=1)
    assert once > 0.1
    assert abs(twice - once) < 0.03 * once


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_content_itself_is_pulled_nowhere_by_normalized_gradients(dtype: torch.dtype) -> None:
    features = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(1)).to(dtype)
    content = features.clone()
    content[1] += 0.5
    features.requires_grad_()
    total = (50 * content_error(features, content, 0.7, normalize=True)).sum()
    (gradient,) = torch.autograd.grad(total, features)
    assert not gradient[0].any()
    assert float(gradient[1].double().norm()) == pytest.approx(50, rel=1e-2)
