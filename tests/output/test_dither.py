"""Noise instead of bands: what it does to means, runs, black and white, and that it can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray

from tilefarm.geometry import Size
from tilefarm.image.engine import quantised
from tilefarm.output.dither import dithered
from tilefarm.output.write import write_output
from tilefarm.spec.file_form import FileForm

WIDTH, HEIGHT = 4000, 64
LOW, HIGH = 100.0, 110.0
"""Grey levels of the gradient's ends."""


def gradient() -> NDArray[np.float32]:
    row = np.linspace(LOW / 255, HIGH / 255, WIDTH, dtype=np.float32)
    return np.repeat(np.repeat(row[None, :, None], HEIGHT, axis=0), 3, axis=2)


def longest_run(picture: NDArray[np.uint8]) -> int:
    """Of columns that are equal to the one before, and the first of them."""
    longest = run = 1
    for same in (picture[:, 1:] == picture[:, :-1]).all(axis=(0, 2)):
        run = run + 1 if same else 1
        longest = max(longest, run)
    return longest


def wrong_mean(picture: NDArray[np.uint8]) -> float:
    """The largest difference from the true value of the mean over 100 columns."""
    true = np.linspace(LOW, HIGH, WIDTH).reshape(-1, 100).mean(axis=1)
    found = picture.mean(axis=(0, 2)).reshape(-1, 100).mean(axis=1)
    return float(np.abs(found - true).max())


def bands(picture: NDArray[np.uint8]) -> bool:
    """By chance two columns are equal in one of 2^64 pictures: 64 pixels, each half the time at most."""
    return longest_run(picture) > 1 or wrong_mean(picture) > 0.05


def rounded(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = quantised(pyvips.Image.new_from_array(values), 255).numpy()
    return found


def noisy(values: NDArray[np.float32], seed: int = 1) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = dithered(pyvips.Image.new_from_array(values), seed).numpy()
    return found


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_a_slow_gradient_has_no_bands(seed: int) -> None:
    assert not bands(noisy(gradient(), seed))


def test_without_noise_it_has() -> None:
    plain = rounded(gradient())
    assert longest_run(plain) > 300
    assert wrong_mean(plain) > 0.2
    assert bands(plain)


@pytest.mark.parametrize("level", [0.02, 0.3, 0.5, 1.0, 1.4, 60.25, 127.5, 253.7, 254.5, 254.95])
def test_mean_and_variance(level: float) -> None:
    """The mean is exact everywhere, and away from black and white the variance is that of theory: 1/4."""
    found = noisy(np.full((600, 600, 3), level / 255, np.float32)).astype(np.float64)
    assert found.mean() == pytest.approx(level, abs=0.004)
    if 1 <= level <= 254:
        assert found.var() == pytest.approx(0.25, abs=0.01)
    assert np.abs(found - level).max() < 1.5


@pytest.mark.parametrize("value", [0.0, 1.0, -0.2, 1.7, -1e30, 1e30])
def test_black_and_white_stay_pure(value: float) -> None:
    found = noisy(np.full((600, 600, 3), value, np.float32))
    assert np.unique(found).tolist() == [0 if value <= 0 else 255]


def test_channels_and_seeds_have_noise_of_their_own() -> None:
    values = np.full((300, 300, 3), 100.4 / 255, np.float32)
    first, second = noisy(values, 1).astype(float), noisy(values, 2).astype(float)
    planes = [*first.transpose(2, 0, 1), *second.transpose(2, 0, 1)]
    likeness = np.corrcoef([plane.ravel() for plane in planes])
    assert np.abs(likeness - np.eye(6)).max() < 0.02


def test_neighbours_are_independent() -> None:
    """No pattern: at no small distance is the noise like itself."""
    noise = noisy(np.full((400, 400, 3), 100.4 / 255, np.float32))[..., 1].astype(float)
    noise -= noise.mean()
    for down, right in ((0, 1), (1, 0), (1, 1), (0, 2), (3, 5), (16, 0)):
        shifted = np.roll(noise, (down, right), (0, 1))
        assert abs((noise * shifted).mean()) < 0.02 * noise.var() + 0.005


def parts(image: pyvips.Image, box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = image.crop(*box).numpy()
    return found


@pytest.mark.parametrize("box", [(0, 0, 700, 1), (13, 511, 600, 9), (511, 0, 2, 600), (699, 599, 1, 1)])
def test_any_part_in_any_order_is_the_same(box: tuple[int, int, int, int]) -> None:
    values = np.random.default_rng(0).uniform(0, 1, (600, 700, 3)).astype(np.float32)
    left, top, width, height = box
    whole = noisy(values)
    part = parts(dithered(pyvips.Image.new_from_array(values), 1), box)
    np.testing.assert_array_equal(part, whole[top : top + height, left : left + width])


@pytest.fixture
def threads() -> Callable[[int], None]:
    return lambda count: pyvips.vips_lib.vips_concurrency_set(count)


def test_files_do_not_depend_on_threads(tmp_path: Path, threads: Callable[[int], None]) -> None:
    size = Size(400, 300)
    values = np.random.default_rng(0).uniform(0, 1, (300, 400, 3)).astype("<f4")
    values.tofile(tmp_path / "canvas.raw")
    files: dict[str, set[bytes]] = {}
    try:
        for count in (1, 3, 8):
            threads(count)
            for name, form in {
                "a.png": FileForm("png", 8, 300, dither=True, seed=5),
                "a.tif": FileForm("tiff", 8, 300, dither=True, seed=5, profile="adobe-rgb", tiled=False),
            }.items():
                write_output(tmp_path / "canvas.raw", size, tmp_path / name, form)
                files.setdefault(name, set()).add((tmp_path / name).read_bytes())
    finally:
        threads(0)
    assert [len(found) for found in files.values()] == [1, 1]
    write_output(
        tmp_path / "canvas.raw", size, tmp_path / "b.png", FileForm("png", 8, 300, dither=True, seed=6)
    )
    assert (tmp_path / "b.png").read_bytes() not in files["a.png"]


@pytest.mark.parametrize("profile", ["srgb", "display-p3", "adobe-rgb"])
def test_black_and_white_stay_pure_in_other_profiles(tmp_path: Path, profile: str) -> None:
    values = np.zeros((40, 40, 3), "<f4")
    values[:20], values[0, 0], values[39, 39] = 1.0, 1.2, -0.3
    values.tofile(tmp_path / "canvas.raw")
    form = FileForm("tiff", 8, 300, profile=profile, dither=True)
    write_output(tmp_path / "canvas.raw", Size(40, 40), tmp_path / "a.tif", form)
    found = pyvips.Image.new_from_file(str(tmp_path / "a.tif")).numpy()
    assert np.unique(found[:20]).tolist() == [255]
    assert np.unique(found[20:]).tolist() == [0]
