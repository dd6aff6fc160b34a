"""Errors and slopes of every statistic beside the same loss formed from features, with autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.statistic_formulas import FORMULAS, Formula, gram
from tilefarm.solve.losses import moments, style_error
from tilefarm.solve.measure import layer_sums
from tilefarm.solve.moments import Drift, Moments, squared_length
from tilefarm.solve.statistics import STATISTICS, comparison

CASES = [*[(name, 0.0, formula) for name, formula in FORMULAS.items()], ("gram", -0.7, gram(-0.7))]


def features(seed: int, positions: int = 60, channels: int = 5) -> Tensor:
    """Rectified, correlated numbers (positions, channels), float64."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    return (torch.randn(positions, channels, generator=generator, dtype=torch.float64) @ mix + 0.5).relu()


def of(rows: Tensor) -> Moments:
    return Moments(rows.mean(0), rows.T @ rows / len(rows))


def as_numpy(known: Moments) -> Moments:
    return Moments(*(part.numpy() for part in known))


@pytest.mark.parametrize(("name", "shift", "formula"), CASES)
def test_error_and_slopes_are_those_of_the_formula(name: str, shift: float, formula: Formula) -> None:
    style, rows = features(1, 80), features(2).requires_grad_()
    weights = torch.full((len(rows),), 1 / len(rows), dtype=torch.float64)
    wanted = formula(rows, weights, style)
    (gradient,) = torch.autograd.grad(wanted, rows)
    found, slopes = comparison(((name, 2.0),), shift, of(style))(of(rows.detach()))
    assert float(found) == pytest.approx(float(wanted.detach()), rel=2e-4)
    back = (2 * rows.detach() @ slopes.product + slopes.mean) / len(rows)
    assert float((back - gradient).norm() / gradient.norm()) < 2e-3
    torch.testing.assert_close(slopes.product, slopes.product.T)


@pytest.mark.parametrize("name", STATISTICS)
def test_arrays_of_numpy_and_tensors_give_the_same(name: str) -> None:
    style, found = of(features(1)), of(features(2))
    error, slopes = comparison(((name, 1.0),), 0.3, style)(found)
    other, others = comparison(((name, 1.0),), 0.3, as_numpy(style))(as_numpy(found))
    assert float(error) == pytest.approx(float(other), rel=1e-9)
    np.testing.assert_allclose(slopes.mean.numpy(), others.mean, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(slopes.product.numpy(), others.product, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", STATISTICS)
def test_leading_dimensions_are_independent(name: str) -> None:
    styles = [of(features(seed)) for seed in (1, 2)]
    pictures = [[of(features(10 * tile + seed)) for seed in (3, 4)] for tile in range(3)]

    def stack(parts: list[Moments]) -> Moments:
        return Moments(torch.stack([p.mean for p in parts]), torch.stack([p.product for p in parts]))

    compare = comparison(((name, 1.0),), -0.2, stack(styles))
    error, slopes = compare(stack([stack(regions) for regions in pictures]))
    assert error.shape == (3, 2)
    for tile, regions in enumerate(pictures):
        for region, picture in enumerate(regions):
            alone, slope = comparison(((name, 1.0),), -0.2, styles[region])(picture)
            assert float(error[tile, region]) == pytest.approx(float(alone), rel=1e-9)
            torch.testing.assert_close(slopes.mean[tile, region], slope.mean)
            torch.testing.assert_close(slopes.product[tile, region], slope.product)


@pytest.mark.parametrize("name", STATISTICS)
def test_the_style_itself_has_no_error_and_nothing_has_all(name: str) -> None:
    style = of(features(1))
    compare = comparison(((name, 3.0),), 0.0, style)
    error, slopes = compare(style)
    assert abs(float(error)) < 1e-9
    assert float(slopes.mean.abs().max()) < 1e-5
    nothing = Moments(torch.zeros_like(style.mean), torch.zeros_like(style.product))
    assert float(compare(nothing)[0]) == pytest.approx(1.0, rel=1e-2)


def test_several_statistics_are_a_weighted_mean() -> None:
    style, picture = of(features(1)), of(features(2))
    both, slopes = comparison((("gram", 3.0), ("mean", 1.0)), 0.0, style)(picture)
    parts = [comparison(((name, 1.0),), 0.0, style)(picture) for name in ("gram", "mean")]
    assert float(both) == pytest.approx(0.75 * float(parts[0][0]) + 0.25 * float(parts[1][0]))
    torch.testing.assert_close(slopes.mean, 0.75 * parts[0][1].mean + 0.25 * parts[1][1].mean)
    torch.testing.assert_close(slopes.product, 0.75 * parts[0][1].product + 0.25 * parts[1][1].product)


@pytest.mark.parametrize("name", STATISTICS)
def test_a_tile_that_is_the_whole_picture_aims_at_the_style(name: str) -> None:
    style, whole, picture = of(features(1)), of(features(2)), of(features(3))
    plain, slopes = comparison(((name, 1.0),), 0.1, style)(picture)
    moved, others = comparison(((name, 1.0),), 0.1, style, Drift(whole, whole))(picture)
    assert float(moved) == pytest.approx(float(plain), rel=1e-9)
    torch.testing.assert_close(others.product, slopes.product)


@pytest.mark.parametrize("name", STATISTICS)
def test_a_tile_stays_where_it_is_when_the_whole_picture_is_at_its_aim(name: str) -> None:
    style, own = of(features(1)), of(features(3, 200))
    error, slopes = comparison(((name, 1.0),), 0.0, style, Drift(own, style))(own)
    # Covariances of sums of differences are cut to be positive, and so can be a little off.
    assert abs(float(error)) < 1e-6
    assert float(slopes.mean.abs().max()) < 1e-2


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("constant", [0.0, 0.7])
def test_constant_features_have_finite_slopes(name: str, constant: float) -> None:
    flat = of(torch.full((20, 5), constant, dtype=torch.float64))
    for style, picture in ((of(features(1)), flat), (flat, of(features(1))), (flat, flat)):
        error, slopes = comparison(((name, 1.0),), 0.0, style)(picture)
        assert np.isfinite(float(error))
        assert torch.isfinite(slopes.mean).all()
        assert torch.isfinite(slopes.product).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), positions=st.integers(1, 40))
def test_the_length_of_the_gradient_follows_from_sums(seed: int, positions: int) -> None:
    rows = features(seed, positions)
    slopes = Moments(torch.randn(5, dtype=torch.float64), torch.randn(5, 5, dtype=torch.float64))
    slopes = Moments(slopes.mean, slopes.product + slopes.product.T)
    wanted = (2 * rows @ slopes.product + slopes.mean).square().sum()
    found = squared_length(slopes, Moments(rows.sum(0), rows.T @ rows), torch.tensor(float(positions)))
    assert float(found) == pytest.approx(float(wanted), rel=1e-9)


def picture(seed: int) -> Tensor:
    """Features (2, 5, 6, 7), float64."""
    return torch.stack([features(seed + tile, 42).T.reshape(5, 6, 7) for tile in range(2)])


def shares() -> Tensor:
    """Of three regions (2, 3, 6, 7), one of them empty in the second tile."""
    found = torch.rand(2, 3, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found[1, 2] = 0
    return found / found.sum(1, keepdim=True)


@pytest.mark.parametrize(("name", "shift", "formula"), CASES)
def test_regions_of_tiles_are_compared_one_by_one(name: str, shift: float, formula: Formula) -> None:
    styles = [features(20 + region, 80) for region in range(3)]
    compare = comparison(
        ((name, 1.0),),
        shift,
        Moments(*(torch.stack(parts) for parts in zip(*(of(style) for style in styles), strict=True))),
    )
    x, weights = picture(5).requires_grad_(), (0.5, 2.0, 1.0)
    found = style_error(x, compare, shares(), weights)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    total = torch.zeros((), dtype=torch.float64)
    for tile in range(2):
        expected = torch.zeros((), dtype=torch.float64)
        for region, style in enumerate(styles):
            share = shares()[tile, region].flatten()
            if bool(share.any()):
                error = formula(x[tile].flatten(1).T, share / share.sum(), style)
                expected = expected + weights[region] * share.mean() * error
        assert float(found[tile].detach()) == pytest.approx(float(expected.detach()), rel=1e-3)
        total = total + expected
    (wanted,) = torch.autograd.grad(total, x)
    assert float((gradient - wanted).norm() / wanted.norm()) < 3e-3


def test_normalized_gradients_have_the_length_of_the_incoming_one() -> None:
    x = picture(5).requires_grad_()
    compare = comparison((("gram", 1.0), ("mean", 1.0)), -1.0, of(features(1)))
    plain, normal = (style_error(x, compare, normalize=each) for each in (False, True))
    torch.testing.assert_close(plain, normal)
    (expected,) = torch.autograd.grad(plain.sum(), x)
    (gradient,) = torch.autograd.grad((normal * torch.tensor([3.0, 0.5])).sum(), x)
    lengths = gradient.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.tensor([3.0, 0.5], dtype=torch.float64))
    direction = expected / expected.flatten(1).norm(dim=1).view(2, 1, 1, 1)
    torch.testing.assert_close(gradient, direction * torch.tensor([3.0, 0.5]).view(2, 1, 1, 1))


def test_moments_of_an_empty_region_are_zero() -> None:
    found, areas = moments(picture(5), shares())
    assert not found.mean[1, 2].any()
    assert areas[1, 2] == 0
    torch.testing.assert_close(areas.sum(1), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("regions", [None, 2])
def test_bits_do_not_depend_on_the_number_of_threads(regions: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 64, 130, 170, generator=generator).contiguous(memory_format=torch.channels_last)
    share = None if regions is None else torch.rand(1, regions, 130, 170, generator=generator)
    styles = [of(features(seed, 300, 64)) for seed in (1, 2)[: regions or 1]]
    known = Moments(*(torch.stack(parts).float() for parts in zip(*styles, strict=True)))
    compare = comparison(tuple((name, 1.0) for name in STATISTICS), 0.5, known)
    before, found = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        leaf = x.clone().requires_grad_()
        error = style_error(leaf, compare, share, (1.0,) * (regions or 1))
        found.append((error.detach(), *torch.autograd.grad(error.sum(), leaf)))
    torch.set_num_threads(before)
    for first, second in zip(*found, strict=True):
        assert torch.equal(first, second)


def test_sums_over_a_piece_are_those_of_float64() -> None:
    rows = torch.rand(20_001, 64, generator=torch.Generator().manual_seed(0))
    share = torch.rand(20_001, 2, generator=torch.Generator().manual_seed(1))
    for shares in (None, share):
        found = layer_sums(rows, shares, 2.0)
        weights = torch.ones(20_001, 1) if shares is None else shares
        for region, weight in enumerate(weights.double().unbind(1)):
            wide = rows.double() * 2
            assert found.weights[region] == pytest.approx(float(weight.sum()))
            np.testing.assert_allclose(found.sums[region], (weight @ wide).numpy(), rtol=1e-5)
            wanted = (wide * weight[:, None]).T @ wide
            np.testing.assert_allclose(found.products[region], wanted.numpy(), rtol=1e-5)


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("grain", [0.0, 1e-4, 1e-2])
def test_the_length_is_believed_where_features_hardly_vary(name: str, grain: float) -> None:
    """Parts of the sum cancel there, and in float32 their rest can come out negative."""
    noise = torch.randn(200, 8, generator=torch.Generator().manual_seed(2))
    rows = (5.0 + torch.arange(8) + grain * noise).float()
    _, slopes = comparison(((name, 1.0),), 0.0, of(features(1, 80, 8)))(
        Moments(*(p.double() for p in of(rows)))
    )
    slopes = Moments(slopes.mean.float(), slopes.product.float())
    sums = Moments(rows.sum(0), rows.T @ rows)
    found = float(squared_length(slopes, sums, torch.tensor(200.0)))
    wide = (2 * rows.double() @ slopes.product.double() + slopes.mean.double()).square().sum()
    parts = (2 * rows.double() @ slopes.product.double()).square().sum()
    assert found > 0
    assert found == pytest.approx(float(wide), rel=0.05, abs=2e-6 * float(parts))
