"""Total variation with other exponents than 2, of a whole file and of a batch of tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tilefarm.canvas import total_variation as streamed
from tilefarm.geometry import Size
from tilefarm.plan.cut import Cut
from tilefarm.solve.losses import total_variation

EXPONENTS = (1.0, 1.25, 1.7, 2.0, 2.5, 3.0)


def by_hand(pixels: np.ndarray, exponent: float) -> float:
    total = 0.0
    for axis in (0, 1):
        difference = np.abs(np.diff(pixels, axis=axis))
        total += float(np.mean(difference**exponent)) if difference.size else 0.0
    return total


@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 400),
    st.sampled_from(EXPONENTS),
    st.integers(0, 99),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_both_forms_give_the_value_and_the_slope_of_finite_differences(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    height: int,
    band: int,
    exponent: float,
    seed: int,
) -> None:
    monkeypatch.setattr(streamed, "_VALUES_PER_BAND", band)
    size = Size(width, height)
    picture = np.random.default_rng(seed).random((height, width, 3)).astype("<f4")
    picture.tofile(tmp_path / "p")
    exact = picture.astype(np.float64)
    assert streamed.total_variation(tmp_path / "p", Cut.of(size), exponent) == pytest.approx(
        by_hand(exact, exponent), rel=1e-9
    )
    np.zeros_like(picture).tofile(tmp_path / "g")
    streamed.add_gradient(tmp_path / "p", size, tmp_path / "g", 3.0, exponent)
    found = np.fromfile(tmp_path / "g", "<f4").reshape(picture.shape)

    tile = torch.from_numpy(exact).permute(2, 0, 1)[None].requires_grad_()
    value = total_variation(tile, exponent)
    assert float(value.detach()) == pytest.approx(by_hand(exact, exponent), rel=1e-9)
    (slope,) = torch.autograd.grad(value.sum(), tile)
    np.testing.assert_allclose(found, 3 * slope[0].permute(1, 2, 0).numpy(), atol=1e-6)

    steps = [np.abs(np.diff(exact, axis=axis)) for axis in (0, 1)]
    assume(all(step.min(initial=1.0) > 1e-4 for step in steps))  # |d| has a kink at 0
    direction = np.random.default_rng(seed + 1).normal(0, 1e-6, exact.shape)
    difference = by_hand(exact + direction, exponent) - by_hand(exact - direction, exponent)
    assert float((found * direction).sum()) == pytest.approx(1.5 * difference, rel=1e-3, abs=1e-11)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_a_flat_picture_has_no_slope(tmp_path: Path, exponent: float) -> None:
    size = Size(9, 7)
    picture = np.full((7, 9, 3), 0.25, dtype="<f4")
    picture[3:, 4:] = 0.75  # an edge between two flat parts
    picture.tofile(tmp_path / "p")
    np.zeros_like(picture).tofile(tmp_path / "g")
    streamed.add_gradient(tmp_path / "p", size, tmp_path / "g", 1.0, exponent)
    found = np.fromfile(tmp_path / "g", "<f4").reshape(picture.shape)
    tile = torch.from_numpy(picture).permute(2, 0, 1)[None].requires_grad_()
    (slope,) = torch.autograd.grad(total_variation(tile, exponent).sum(), tile)
    for gradient in (found, slope[0].permute(1, 2, 0).numpy()):
        assert np.isfinite(gradient).all()
        assert not gradient[:2].any()
        assert not gradient[:, :3].any()
        assert gradient[3:, 4:].any()


def test_known_values() -> None:
    stripes = torch.tensor([0.0, 0.5, 0.0, 0.5]).expand(1, 3, 2, 4)
    assert [float(total_variation(stripes, p)) for p in (1.0, 2.0, 3.0)] == [0.5, 0.25, 0.125]
    assert float(total_variation(stripes, 2.5)) == pytest.approx(0.5**2.5)
