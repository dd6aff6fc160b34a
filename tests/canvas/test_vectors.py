"""Streamed vector arithmetic and total variation against numpy on whole arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tilefarm.canvas import total_variation as tv
from tilefarm.canvas import vectors
from tilefarm.canvas.vectors import FileVectors
from tilefarm.geometry import Size
from tilefarm.plan import cut
from tilefarm.plan.cut import Cut

LENGTH = 12_345
FILES = FileVectors(Cut.flat(LENGTH))


def write(path: Path, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(0, 1, LENGTH).astype("<f4")
    values.tofile(path)
    return values.astype(np.float64)


@pytest.mark.parametrize("block", [1000, 4096, 1 << 20])
def test_dots_combine_and_norm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(vectors, "BLOCK", block)
    monkeypatch.setattr(cut, "BLOCK", block)
    paths = [tmp_path / str(seed) for seed in range(4)]
    arrays = np.array([write(path, seed) for seed, path in enumerate(paths)])
    found = FILES.dots(paths[:3], paths[2:])
    np.testing.assert_allclose(found, arrays[:3] @ arrays[2:].T, atol=2e-3)
    assert FILES.norm1(paths[0]) == pytest.approx(np.abs(arrays[0]).sum(), rel=1e-7)
    FILES.combine(tmp_path / "sum", [(1.0, paths[0]), (-2.5, paths[1])])
    np.testing.assert_allclose(np.fromfile(tmp_path / "sum", "<f4"), arrays[0] - 2.5 * arrays[1], atol=1e-6)
    FILES.combine(paths[0], [(2.0, paths[0]), (1.0, paths[3])])
    np.testing.assert_allclose(np.fromfile(paths[0], "<f4"), 2 * arrays[0] + arrays[3], atol=1e-6)


def test_is_finite_looks_at_every_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "BLOCK", 1000)
    write(tmp_path / "v", 0)
    assert FILES.is_finite(tmp_path / "v")
    values = np.fromfile(tmp_path / "v", "<f4")
    values[-1] = np.inf
    values.tofile(tmp_path / "v")
    assert not FILES.is_finite(tmp_path / "v")


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 400))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_total_variation_and_its_gradient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, height: int, band: int
) -> None:
    monkeypatch.setattr(tv, "_VALUES_PER_BAND", band)
    size = Size(width, height)
    picture = np.random.default_rng(width * 100 + height).random((height, width, 3)).astype("<f4")
    picture.tofile(tmp_path / "p")

    def value(pixels: np.ndarray) -> float:
        total = 0.0
        for axis in (0, 1):
            difference = np.diff(pixels, axis=axis)
            total += float((difference**2).mean()) if difference.size else 0.0
        return total

    exact = picture.astype(np.float64)
    assert tv.total_variation(tmp_path / "p", Cut.of(size)) == pytest.approx(value(exact), rel=1e-9)
    np.ones_like(picture).tofile(tmp_path / "g")
    tv.add_gradient(tmp_path / "p", size, tmp_path / "g", 3.0)
    found = np.fromfile(tmp_path / "g", "<f4").reshape(picture.shape) - 1
    row, column, channel = height // 2, width // 3, 1
    step = 1e-4
    moved = [exact.copy(), exact.copy()]
    moved[0][row, column, channel] += step
    moved[1][row, column, channel] -= step
    slope = 3 * (value(moved[0]) - value(moved[1])) / (2 * step)
    assert found[row, column, channel] == pytest.approx(slope, abs=1e-5)
    assert found.sum() == pytest.approx(0, abs=1e-3)
