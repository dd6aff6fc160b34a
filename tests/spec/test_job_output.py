"""Sizes, prints and file kinds of the output section."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tilefarm.errors import JobError
from tilefarm.geometry import Box, Size
from tilefarm.spec.model import Output

contents = st.builds(Size, st.integers(1, 20_000), st.integers(1, 20_000))


def output(**keys: Any) -> Output:
    return Output.model_validate({"path": "a.tif"} | keys)


def mistake(**keys: Any) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        output(**keys)
    [error] = caught.value.errors()
    return ".".join(map(str, error["loc"])), error["msg"]


@pytest.mark.parametrize(
    ("path", "kind", "depth"),
    [
        ("a.tif", "tiff", 16),
        ("a.TIFF", "tiff", 16),
        ("a.Png", "png", 8),
        ("a.jpg", "jpeg", 8),
        ("a.JPEG", "jpeg", 8),
    ],
)
def test_format_and_default_bit_depth(path: str, kind: str, depth: int) -> None:
    made = output(path=path)
    assert (made.format, made.bit_depth, made.path) == (kind, depth, Path(path))


@pytest.mark.parametrize("path", ["a", "a.gif", ".tif", "", "a.tif/", 5, None])
def test_bad_paths(path: object) -> None:
    if path == "a.tif/":
        assert output(path=path).path == Path("a.tif")  # pathlib's reading of it
        return
    assert mistake(path=path)[0] == "path"


def test_bit_depth() -> None:
    assert output(path="a.png", bit_depth=16).bit_depth == 16
    assert output(bit_depth=8).bit_depth == 8
    assert "must be 8 for JPEG, got 16" in mistake(path="a.jpg", bit_depth=16)[1]
    assert mistake(bit_depth=12)[0] == "bit_depth"


def test_only_one_key_asks_for_a_size() -> None:
    place, message = mistake(width=5, long_side=7)
    assert place == "long_side"
    assert "output.width" in message
    with pytest.raises(ValidationError) as caught:
        output(width=0, print={"width": "1in", "height": "2in"})
    assert {error["loc"] for error in caught.value.errors()} == {("width",), ("print",)}


@pytest.mark.parametrize("key", ["width", "height", "long_side"])
def test_pixel_ranges(key: str) -> None:
    for value in (1, 300_000):
        assert getattr(output(**{key: value}), key) == value
    for bad in (0, 300_001, -1, 2.5, "40cm", True):
        assert mistake(**{key: bad})[0] == key


@settings(deadline=None)
@given(contents)
def test_without_a_size_the_content_decides(content: Size) -> None:
    target = output().target(content)
    assert target.size == content
    assert target.crop == Box(0, 0, content.width, content.height)


@settings(deadline=None)
@given(contents, st.integers(1, 3000), st.sampled_from(["width", "height", "long_side"]))
@example(Size(22, 11), 15, "long_side")  # 7.5: between two sizes
@example(Size(202, 101), 1001, "long_side")  # 500.5
@example(Size(22, 11), 15, "width")
def test_one_side_keeps_the_aspect(content: Size, pixels: int, key: str) -> None:
    given_side, other = (content.width, content.height)
    if key == "height" or (key == "long_side" and content.height > content.width):
        given_side, other = other, given_side
    exact = Fraction(other * pixels, given_side)
    if round(exact) > 300_000:
        with pytest.raises(JobError, match="at most 300000"):
            output(**{key: pixels}).target(content)
        return
    target = output(**{key: pixels}).target(content)
    assert target.crop == Box.of(content)
    sides = [target.size.width, target.size.height]
    sides.remove(pixels)
    (found,) = sides
    assert abs(found - max(exact, Fraction(1))) <= Fraction(1, 2)  # just between two sizes either will do
    if key != "long_side":
        assert getattr(target.size, key) == pixels
    else:
        assert target.size.long_side == pixels


def test_known_sizes() -> None:
    photo = Size(4000, 3000)
    assert output(width=6000).target(photo).size == Size(6000, 4500)
    assert output(height=600).target(photo).size == Size(800, 600)
    assert output(long_side=1000).target(Size(3000, 4000)).size == Size(750, 1000)
    assert output(width=1).target(Size(9000, 1)).size == Size(1, 1)


def test_print_in_pixels() -> None:
    made = output(print={"width": "40cm", "height": "30cm", "dpi": 300})
    assert made.print_size == Size(4724, 3543)  # 40 / 2.54 * 300 = 4724.4, 30 / 2.54 * 300 = 3543.3
    inches = output(print={"width": "16in", "height": "400 mm"}, dpi=150)
    assert inches.print_size == Size(2400, 2362)  # 400 / 25.4 * 150 = 2362.2


def test_print_crops_the_middle() -> None:
    square = {"width": "10in", "height": "10in"}
    assert output(print=square).target(Size(400, 300)).crop == Box(50, 0, 350, 300)
    assert output(print=square).target(Size(300, 400)).crop == Box(0, 50, 300, 350)
    wide = output(print={"width": "2in", "height": "1in"}).target(Size(401, 301))
    assert wide.crop == Box(0, 50, 401, 250)  # 401 / 2 rounds to 200
    assert wide.size == Size(600, 300)


@settings(deadline=None)
@given(contents, st.integers(1, 400), st.integers(1, 400))
def test_print_crop_is_the_largest_centred_box(content: Size, width: int, height: int) -> None:
    target = output(print={"width": f"{width}mm", "height": f"{height}mm"}).target(content)
    crop, size = target.crop, target.size
    assert 0 <= crop.left <= crop.right <= content.width
    assert 0 <= crop.top <= crop.bottom <= content.height
    assert crop.width == content.width or crop.height == content.height
    assert abs((content.width - crop.right) - crop.left) <= 1
    assert abs((content.height - crop.bottom) - crop.top) <= 1
    # One side is the content's; the other follows from the aspect to half a pixel, but is at least 1.
    height_off = abs(crop.height - max(Fraction(1), Fraction(crop.width * size.height, size.width)))
    width_off = abs(crop.width - max(Fraction(1), Fraction(crop.height * size.width, size.height)))
    assert min(height_off, width_off) <= Fraction(1, 2)


def test_dpi_comes_from_either_place() -> None:
    paper = {"width": "4in", "height": "3in"}
    assert output().resolved_dpi == 300
    assert output(dpi=72.5).resolved_dpi == 72.5
    assert output(print=paper).resolved_dpi == 300
    assert output(print=paper | {"dpi": 200}).resolved_dpi == 200
    assert output(print=paper | {"dpi": 200}, dpi=200.0).resolved_dpi == 200
    assert output(print=paper | {"dpi": 200}).print_size == Size(800, 600)
    assert "output.print.dpi is 200" in mistake(print=paper | {"dpi": 200}, dpi=300)[1]
    for bad in (0.5, 9601, float("nan"), "300"):
        assert mistake(dpi=bad)[0] == "dpi"


@pytest.mark.parametrize(
    "text", ["40", 40, "cm", "-4cm", "0cm", "4 feet", "4cmm", "1e3cm", "4,5cm", None, True]
)
def test_bad_lengths(text: object) -> None:
    place, message = mistake(print={"width": text, "height": "3in"})
    assert place == "print.width"
    assert "a length with its unit such as 40cm" in message


@pytest.mark.parametrize(("length", "dpi"), [("1001in", 300), ("0.001in", 300), ("40in", 9600)])
def test_prints_have_1_to_300000_pixels_a_side(length: str, dpi: float) -> None:
    assert (
        "a side must have 1 to 300000 pixels" in mistake(print={"width": length, "height": "3in"}, dpi=dpi)[1]
    )
    assert (
        "a side must have 1 to 300000 pixels" in mistake(print={"width": "3in", "height": length}, dpi=dpi)[1]
    )


def test_largest_print_side() -> None:
    made = output(print={"width": "1000in", "height": "0.002in"})
    assert made.print_size == Size(300_000, 1)
