"""Prints: bleed, the three fits, margins, and what of it decides the painted pixels."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tilefarm.errors import JobError
from tilefarm.geometry import Box, Size, View
from tilefarm.spec.output import Output
from tilefarm.spec.sheet import Sheet, inside, nearer, same_shape

contents = st.builds(Size, st.integers(1, 9000), st.integers(1, 9000))
millimetres = st.integers(5, 500)


def output(**paper: Any) -> Output:
    given = {"width": "40cm", "height": "30cm"} | paper
    return Output.model_validate({"path": "a.tif", "print": given})


def problems(**paper: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        output(**paper)
    return {".".join(map(str, error["loc"])): error["msg"] for error in caught.value.errors()}


def test_bleed_is_added_on_every_side_before_rounding() -> None:
    made = output(bleed="3mm")
    assert made.print_size == Size(4795, 3614)  # 40.6 / 2.54 * 300 = 4795.28, 30.6 / 2.54 * 300 = 3614.17
    sheet = made.target(Size(4000, 3000)).sheet
    assert sheet.size == Size(4795, 3614)
    assert sheet.trim.size == Size(4724, 3543)
    assert sheet.bleed == (35, 35, 36, 36)  # 3 mm are 35.4 pixels
    inches = output(width="8in", height="10in", bleed="0.125in", dpi=200)
    assert inches.print_size == Size(1650, 2050)
    assert inches.target(Size(4, 5)).sheet.bleed == (25, 25, 25, 25)


@settings(deadline=None)
@given(contents, millimetres, millimetres, st.integers(0, 12), st.integers(20, 600))
def test_bleed_is_the_same_on_opposite_sides(
    content: Size, width: int, height: int, tenths: int, dpi: int
) -> None:
    assume(4 * tenths <= 10 * min(width, height))
    paper = {"width": f"{width}mm", "height": f"{height}mm", "bleed": f"{tenths / 10}mm", "dpi": dpi}
    made = output(**paper)
    bleed = Fraction(tenths, 254) * dpi
    for fit in ("crop", "pad"):
        left, top, right, bottom = output(**paper, fit=fit).target(content).sheet.bleed
        assert 0 <= right - left <= 1
        assert 0 <= bottom - top <= 1
        assert all(abs(side - bleed) <= 1 for side in (left, top, right, bottom))
    assert made.target(content).size == made.print_size


def test_crop_covers_the_sheet_with_its_bleed() -> None:
    target = output(bleed="3mm").target(Size(1500, 1200))
    assert target.view == View.filling(Box(0, 34, 1500, 1165), Size(4795, 3614))
    assert target.view.factor == pytest.approx(3.196, abs=1e-3)


@settings(deadline=None)
@given(contents, millimetres, millimetres, st.integers(0, 12), st.sampled_from(["mirror", "black"]))
def test_pad_shows_all_of_the_content_in_the_middle(
    content: Size, width: int, height: int, tenths: int, pad: str
) -> None:
    assume(4 * tenths <= 10 * min(width, height))
    paper = {"width": f"{width}mm", "height": f"{height}mm", "bleed": f"{tenths / 10}mm"}
    target = output(**paper, fit="pad", pad=pad).target(content)
    view, sheet = target.view, target.sheet
    assert view.crop == Box.of(content)
    place = view.place if pad == "mirror" else sheet.picture
    assert (view.canvas == sheet.size) == (pad == "mirror" or sheet.picture == Box.of(sheet.size))
    assert place.width == sheet.trim.width or place.height == sheet.trim.height  # as large as can be
    for before, after in (
        (place.left - sheet.trim.left, sheet.trim.right - place.right),
        (place.top - sheet.trim.top, sheet.trim.bottom - place.bottom),
    ):
        assert 0 <= after - before <= 1
        assert before >= 0
    if not same_shape(content, sheet.trim.size):
        width_off = abs(place.width - Fraction(place.height * content.width, content.height))
        height_off = abs(place.height - Fraction(place.width * content.height, content.width))
        assert min(width_off, height_off) <= 1


def test_exact_puts_the_content_on_the_trimmed_sheet() -> None:
    target = output(fit="exact", bleed="3mm").target(Size(1200, 900))
    assert target.view == View(Box(0, 0, 1200, 900), Size(4795, 3614), Box(35, 35, 4759, 3578))
    assert target.sheet == Sheet(Size(4795, 3614), Box(35, 35, 4759, 3578), Box(0, 0, 4795, 3614))
    plain = output(fit="exact").target(Size(1200, 900))
    assert plain.view == View.filling(Box(0, 0, 1200, 900), Size(4724, 3543))


@pytest.mark.parametrize(
    ("content", "fits"),
    [
        (Size(4000, 3000), True),
        (Size(4020, 3000), True),  # half a percent
        (Size(4021, 3000), False),
        (Size(3000, 4000), False),
        (Size(4, 3), True),
    ],
)
def test_what_exact_takes(content: Size, fits: bool) -> None:
    made = output(width="40in", height="30in", fit="exact", dpi=100)
    if fits:
        assert made.target(content).crop == Box.of(content)
        return
    with pytest.raises(JobError, match="needs a content of the print's shape"):
        made.target(content)


def test_a_pixel_of_a_small_print_is_no_other_shape() -> None:
    assert same_shape(Size(301, 200), Size(30, 20))  # 30.1 x 20
    assert same_shape(Size(300, 200), Size(31, 20))
    assert not same_shape(Size(300, 200), Size(32, 20))


def test_a_content_of_another_shape_is_told_what_the_other_ways_would_do() -> None:
    with pytest.raises(JobError) as caught:
        output(fit="exact").target(Size(600, 400))
    (problem,) = caught.value.problems
    assert problem == (
        "output.print.fit: exact needs a content of the print's shape, 1.33:1, got 600x400, which is 1.50:1; "
        "use fit: crop, which would cut off 67 of its 600 columns, or fit: pad, which would fill 394 of the "
        "print's 3543 rows, or choose a print of the content's shape"
    )
    with pytest.raises(
        JobError, match=r"cut off 350 of its 800 rows, or .* fill 2067 of the print's 4724 col"
    ):
        output(fit="exact").target(Size(600, 800))


def test_a_margin_is_not_painted() -> None:
    target = output(fit="pad", pad="white", bleed="3mm").target(Size(600, 400))
    assert target.view == View.filling(Box(0, 0, 600, 400), Size(4724, 3149))
    assert target.sheet == Sheet(
        Size(4795, 3614), Box(35, 35, 4759, 3578), Box(35, 232, 4759, 3381), (1.0, 1.0, 1.0)
    )
    assert output(fit="pad", pad="#FF8000").target(Size(600, 400)).sheet.margin == (1.0, 128 / 255, 0.0)


def test_no_hairline_where_the_shape_is_nearly_the_prints() -> None:
    assert inside(Size(1205, 900), Size(400, 300)) == Size(400, 300)
    assert inside(Size(1300, 900), Size(400, 300)) == Size(400, 277)
    assert inside(Size(9000, 1), Size(400, 300)) == Size(400, 1)


def test_all_mistakes_at_once() -> None:
    found = problems(width="0cm", bleed="3", fit="stretch", pad="pink", dpi=0)
    assert found.keys() == {f"print.{key}" for key in ("width", "bleed", "fit", "pad", "dpi")}
    assert "must be 0 or a length with its unit such as 3mm or 0.125in, got '3'" in found["print.bleed"]
    assert "must be mirror, white, black or a colour such as '#c0ffee'" in found["print.pad"]


@pytest.mark.parametrize("bleed", ["75.1mm", "8cm", "3in"])
def test_bleed_has_a_limit(bleed: str) -> None:
    found = problems(bleed=bleed)
    assert f"must be at most a quarter of the sheet's shorter side, 30cm, got {bleed}" in found["print.bleed"]
    assert output(bleed="75mm").print_size == Size(6496, 5315)


@pytest.mark.parametrize("bleed", [-1, True, None, "3 feet", "-3mm", 3.0, [], "3"])
def test_bad_bleeds(bleed: object) -> None:
    assert "must be 0 or a length" in problems(bleed=bleed)["print.bleed"]


@pytest.mark.parametrize("bleed", [0, "0mm", "0in", "0.0cm"])
def test_no_bleed(bleed: object) -> None:
    assert output(bleed=bleed).target(Size(4, 3)) == output().target(Size(4, 3))


def test_bleed_counts_in_the_largest_side() -> None:
    assert output(width="999in", height="40in", bleed="0.5in").print_size == Size(300_000, 12_300)
    with pytest.raises(ValidationError, match="makes the print 300300 pixels wide"):
        output(width="1000in", height="40in", bleed="0.5in")


def test_a_colour_needs_a_margin() -> None:
    assert "changes nothing with fit: crop, got 'white'" in problems(pad="white")["print.pad"]
    assert "fit: exact and no bleed" in problems(pad="white", fit="exact")["print.pad"]
    assert "fit: exact and no bleed" in problems(pad="white", fit="exact", bleed="0cm")["print.pad"]
    assert output(pad="white", fit="exact", bleed="3mm").target(Size(4, 3)).sheet.margin == (1.0, 1.0, 1.0)
    assert output(pad="mirror").print


def test_a_start_is_laid_where_its_shape_belongs() -> None:
    assert nearer(Size(600, 400), Size(4724, 3149), Size(4795, 3614))
    assert not nearer(Size(4795, 3614), Size(4724, 3149), Size(4795, 3614))
    assert not nearer(Size(10, 10), Size(4724, 3149), Size(4795, 3614))


def test_keys_of_sheets() -> None:
    keys = [
        output(**paper).target(Size(600, 400)).sheet.key
        for paper in (
            {},
            {"bleed": "3mm"},
            {"fit": "pad"},
            {"fit": "pad", "pad": "white"},
            {"fit": "pad", "pad": "black"},
        )
    ]
    assert keys[0] == keys[2] == ""
    assert len(set(keys)) == 4
