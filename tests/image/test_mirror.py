"""Pictures that go on mirrored: numpy's padding at full size, the same places at every smaller one."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tilefarm.geometry import Box, Size, View
from tilefarm.image.decode import inspect
from tilefarm.image.mirror import mirrored_indices, place_at, write_view
from tilefarm.image.resize import write_content
from tilefarm.image.window import open_raw

sides = st.integers(1, 40)
margins = st.integers(0, 90)


def random_picture(size: Size, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (size.height, size.width, 3), dtype=np.uint8)


def written(folder: Path, pixels: NDArray[np.uint8], view: View, size: Size) -> NDArray[np.float32]:
    Image.fromarray(pixels).save(folder / "picture.png")
    write_view(inspect(folder / "picture.png", "content"), view, size, folder / "canvas.f32")
    assert sorted(path.name for path in folder.iterdir()) == ["canvas.f32", "picture.png"]
    return np.array(open_raw(folder / "canvas.f32", size))


@settings(deadline=None, max_examples=40)
@given(inner=st.builds(Size, sides, sides), left=margins, top=margins, right=margins, bottom=margins)
def test_a_full_canvas_is_numpys_symmetric_padding(
    inner: Size, left: int, top: int, right: int, bottom: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    canvas = Size(left + inner.width + right, top + inner.height + bottom)
    place = Box(left, top, left + inner.width, top + inner.height)
    pixels = random_picture(inner)
    found = written(tmp_path_factory.mktemp("mirror"), pixels, View(Box.of(inner), canvas, place), canvas)
    wanted = np.pad(pixels, ((top, bottom), (left, right), (0, 0)), mode="symmetric")
    np.testing.assert_allclose(found, wanted / 255, atol=1e-6)


@settings(deadline=None)
@given(begin=margins, count=st.integers(1, 3000), after=margins)
def test_indices_at_full_size(begin: int, count: int, after: int) -> None:
    length = begin + count + after
    wanted = np.pad(np.arange(count), (begin, after), mode="symmetric")
    np.testing.assert_array_equal(mirrored_indices(begin, begin + count, length, length), wanted)


@settings(deadline=None, max_examples=40)
@given(
    begin=st.integers(0, 3000),
    count=st.integers(1, 3000),
    after=st.integers(0, 3000),
    pixels=st.integers(1, 700),
)
def test_a_smaller_level_mirrors_at_the_same_places(begin: int, count: int, after: int, pixels: int) -> None:
    """To one pixel of that level, however often the part is repeated: with fractions, pixel by pixel."""
    length = begin + count + after
    pixels = min(pixels, length)
    found = mirrored_indices(begin, begin + count, length, pixels)
    scale = Fraction(pixels, length)
    assert found.min() >= 0
    for pixel, sample in enumerate(found):
        u = ((pixel + Fraction(1, 2)) / scale - begin) / count % 2  # in units of the part
        true = min(u, 2 - u) * count * scale  # in pixels of the level, from the part's edge
        assert abs(sample + Fraction(1, 2) - true) <= 1 + Fraction(1, 2)  # the pixel itself is half


def test_places_at_full_and_smaller_sizes() -> None:
    view = View(Box(0, 0, 10, 10), Size(4795, 3614), Box(35, 35, 4759, 3578))
    assert place_at(view, view.canvas) == view.place
    assert place_at(view, Size(300, 226)) == Box(2, 2, 298, 224)
    narrow = View(Box(0, 0, 10, 1), Size(1000, 1000), Box(0, 499, 1000, 500))
    assert place_at(narrow, Size(10, 10)) == Box(0, 5, 10, 6)
    edge = View(Box(0, 0, 10, 1), Size(1000, 1000), Box(0, 999, 1000, 1000))
    assert place_at(edge, Size(10, 10)) == Box(0, 9, 10, 10)


def test_a_view_that_fills_its_canvas_is_the_plain_content(tmp_path: Path) -> None:
    """So runs that were started before there were others go on with the same bytes."""
    pixels, crop, size = random_picture(Size(50, 40)), Box(3, 2, 47, 38), Size(33, 27)
    found = written(tmp_path, pixels, View.filling(crop, Size(330, 270)), size)
    write_content(inspect(tmp_path / "picture.png", "content"), crop, size, tmp_path / "plain.f32")
    np.testing.assert_array_equal(found, open_raw(tmp_path / "plain.f32", size))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_mirrored_as_it_is_seen(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(random_picture(Size(12, 9))).save(tmp_path / "turned.png", exif=exif)

    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "turned.png")))
    height, width = upright.shape[:2]
    view = View(Box(0, 0, width, height), Size(width + 20, height + 30), Box(15, 7, 15 + width, 7 + height))
    write_view(inspect(tmp_path / "turned.png", "content"), view, view.canvas, tmp_path / "canvas.f32")
    wanted = np.pad(upright, ((7, 23), (15, 5), (0, 0)), mode="symmetric")
    np.testing.assert_allclose(open_raw(tmp_path / "canvas.f32", view.canvas), wanted / 255, atol=1e-6)


def test_alpha_goes_on_with_the_colours(tmp_path: Path) -> None:
    alpha = np.random.default_rng(1).integers(0, 256, (6, 8), dtype=np.uint8)
    Image.fromarray(np.dstack([random_picture(Size(8, 6)), alpha])).save(tmp_path / "clear.png")
    view = View(Box(0, 0, 8, 6), Size(8, 26), Box(0, 10, 8, 16))
    info = inspect(tmp_path / "clear.png", "content")
    write_view(info, view, view.canvas, tmp_path / "alpha.f32", part="alpha")
    wanted = np.pad(alpha, ((10, 10), (0, 0)), mode="symmetric") / 255
    found = open_raw(tmp_path / "alpha.f32", view.canvas)
    np.testing.assert_allclose(found, np.repeat(wanted[..., np.newaxis], 3, axis=2), atol=1e-6)


PROGRAM = """\
import resource, sys
from pathlib import Path
from tilefarm.geometry import Box, Size, View
from tilefarm.image.decode import inspect
from tilefarm.image.mirror import write_view
folder, extra = Path(sys.argv[1]), int(sys.argv[2])
info = inspect(folder / "wide.png", "content")
canvas = Size(3000, 40 + extra)
place = Box(0, extra // 2, 3000, extra // 2 + 40)
write_view(info, View(Box.of(info.size), canvas, place), canvas, folder / "canvas.f32")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_canvas(tmp_path: Path) -> None:
    """A canvas of 3000x6040 pixels, 207 MiB, whose strip of 40 rows is seen 151 times."""
    Image.fromarray(random_picture(Size(3000, 40))).save(tmp_path / "wide.png")

    def peak(extra: int) -> int:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(extra)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) * 1024

    assert peak(6000) - peak(2) < 80 * 2**20
