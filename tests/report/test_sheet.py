"""Contact sheets as another reader sees them: where the pictures are, and that there are words."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tilefarm.report.arrange import Cell, Ending, Sheet, arranged
from tilefarm.report.lettering import Lettering
from tilefarm.report.sheet import EMPTY, PAPER, Layout, draw_sheet
from tilefarm.spec.sweep import Varied

Pixels = NDArray[np.uint8]


def flat(folder: Path, name: str, colour: tuple[int, int, int], size: tuple[int, int] = (300, 200)) -> Path:
    Image.new("RGB", size, colour).save(folder / name)
    return folder / name


def colour(number: int) -> tuple[int, int, int]:
    return (40 + number * 67 % 200, 30 + number * 41 % 190, number * 97 % 180)


def drawn(sheet: Sheet, folder: Path) -> tuple[Pixels, Layout]:
    layout = draw_sheet(sheet, folder / "runs" / "sheet.png")
    with Image.open(folder / "runs" / "sheet.png") as image:
        assert image.format == "PNG"
        assert image.mode == "RGB"
        assert image.info["icc_profile"]
        pixels = np.array(image)
    assert pixels.shape == (layout.size.height, layout.size.width, 3)
    return pixels, layout


def in_cell(pixels: Pixels, layout: Layout, index: int) -> Pixels:
    x, y = layout.corner(index)
    return pixels[y : y + layout.cell.height, x : x + layout.cell.width]


def has_words(area: Pixels) -> bool:
    """Dark letters on paper: some of it is ink, most is not."""
    dark = float((area.max(axis=-1) < 100).mean())
    return 0.002 < dark < 0.5


def caption(pixels: Pixels, layout: Layout, index: int) -> Pixels:
    x, y = layout.corner(index)
    row = index // layout.columns
    below = y + layout.cell.height
    return pixels[below : below + layout.captions[row], x : x + layout.cell.width]


def test_two_keys_make_a_table(tmp_path: Path) -> None:
    varied = (Varied("style", ("a.jpg", "b.jpg")), Varied("seed", ("1",)), Varied("scale", ("1", "2", "4")))
    picks = list(itertools.product(range(2), range(1), range(3)))
    endings = [Ending(f"r{n}", "done", flat(tmp_path, f"{n}.png", colour(n))) for n in range(6)]
    sheet = arranged("gate", endings, varied, picks)
    assert sheet.column_headings == ("scale = 1", "scale = 2", "scale = 4")
    assert sheet.row_headings == ("style = a.jpg", "style = b.jpg"), "a key of one value is no heading"
    pixels, layout = drawn(sheet, tmp_path)
    assert (layout.columns, layout.rows) == (3, 2)
    assert (layout.cell.width, layout.cell.height) == (300, 200)
    for index in range(6):
        assert (in_cell(pixels, layout, index) == colour(index)).all(), "nothing enlarged, nothing shifted"
        assert layout.captions[index // 3] == 0
    for column in range(3):
        x, y = layout.corner(column)
        assert has_words(pixels[y - 40 : y, x : x + 300])
    for row in range(2):
        _, y = layout.corner(row * 3)
        assert has_words(pixels[y : y + 200, : layout.left])
    assert (pixels[:, -12:] == PAPER).all()


def test_captions_where_there_is_one_key_or_more_than_two(tmp_path: Path) -> None:
    one = arranged(
        "t", [Ending("x", "done", None)] * 5, (Varied("seed", tuple("12345")),), [[n] for n in range(5)]
    )
    assert (one.columns, one.column_headings) == (3, ())
    assert [cell.captions for cell in one.cells[:2]] == [("seed = 1",), ("seed = 2",)]
    varied = (Varied("a", ("1", "2")), Varied("b", ("x", "y")), Varied("c", ("7", "8", "9")))
    picks = list(itertools.product(range(2), range(2), range(3)))
    endings = [Ending(f"r{n}", "done", flat(tmp_path, f"{n}.png", colour(n))) for n in range(12)]
    three = arranged("t", endings, varied, picks)
    assert three.columns == 3, "the last key fills a row"
    assert three.cells[4].captions == ("a = 1", "b = y", "c = 8")
    pixels, layout = drawn(three, tmp_path)
    for index in range(12):
        assert (in_cell(pixels, layout, index) == colour(index)).all()
        assert has_words(caption(pixels, layout, index))


def test_what_is_missing_is_marked(tmp_path: Path) -> None:
    endings = [
        Ending("good", "done", flat(tmp_path, "0.png", (200, 10, 10))),
        Ending("bad", "failed", tmp_path / "1.png"),
        Ending("gone", "done", tmp_path / "nowhere.png"),
        Ending("broken", "done", flat(tmp_path, "3.png", (1, 2, 3), (300, 290))),
    ]
    data = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(data[: len(data) // 2])
    pixels, layout = drawn(arranged("folder", endings, (), ()), tmp_path)
    assert (layout.columns, layout.rows) == (2, 2)
    first = in_cell(pixels, layout, 0)
    assert (first[layout.cell.height // 2] == (200, 10, 10)).all()
    for index in (1, 2, 3):
        area = in_cell(pixels, layout, index)
        assert (area[5, layout.cell.width // 2] == EMPTY).all()
        assert has_words(area)
        assert has_words(caption(pixels, layout, index)), "its name"


@pytest.mark.parametrize("count", [1, 60])
def test_few_and_many(tmp_path: Path, count: int) -> None:
    long = "a_rather_long_value_of_a_key_that_somebody_chose " * 4
    endings = [Ending("x", "done", flat(tmp_path, "0.png", (9, 90, 190), (900, 600)))] * count
    varied = (Varied("first", tuple(f"{long}{n}" for n in range(count))),)
    sheet = arranged("a title " * 50, endings, varied, [[n] for n in range(count)])
    pixels, layout = drawn(sheet, tmp_path)
    assert layout.size.width < 6000
    assert layout.cell.width == 512
    for index in range(count):
        assert (in_cell(pixels, layout, index) == (9, 90, 190)).all()
        if count > 1:
            assert has_words(caption(pixels, layout, index))
    if count > 1:
        x, y = layout.corner(1)
        assert (pixels[y:, x - 12 : x] == PAPER).all(), "captions stay below their own picture"


def test_the_more_cells_the_smaller(tmp_path: Path) -> None:
    picture = flat(tmp_path, "0.png", (9, 90, 190), (400, 300))
    _, layout = drawn(Sheet("all", (Cell(picture, "", ()),) * 300, 18), tmp_path)
    assert layout.cell.width == 258
    assert layout.size.pixels < 25e6


def test_pictures_of_other_shapes_and_kinds(tmp_path: Path) -> None:
    wide = flat(tmp_path, "wide.png", (200, 0, 0), (1000, 100))
    high = flat(tmp_path, "high.png", (0, 200, 0), (100, 1000))
    deep = np.full((300, 400, 3), 0x8080, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb")
    endings = [Ending("x", "done", path) for path in (wide, high, tmp_path / "deep.tif")]
    pixels, layout = drawn(arranged("x", endings, (), ()), tmp_path)
    middles = [in_cell(pixels, layout, n)[layout.cell.height // 2, layout.cell.width // 2] for n in range(3)]
    assert [tuple(map(int, one)) for one in middles] == [(200, 0, 0), (0, 200, 0), (128, 128, 128)]
    assert (in_cell(pixels, layout, 1)[:, :40] == PAPER).all()


def test_words_are_wrapped_and_cut() -> None:
    lettering = Lettering(16)
    lines = lettering.wrapped("style_weight = 0.5 and more of it", 120, 9)
    assert " ".join(lines) == "style_weight = 0.5 and more of it"
    assert len(lines) == 3
    assert lettering.wrapped("abcdefgh_ijklmnop_qrs", 90, 9) == ["abcdefgh_", "ijklmnop_", "qrs"]
    assert lettering.wrapped("word " * 100, 100, 2)[-1].endswith("...")
    assert lettering.wrapped("Café 茶", 200, 1) == ["Cafe ?"]
    assert lettering.wrapped("Größe Łódź Ørsted — 2 × “Œuvre”…", 900, 1) == [
        'Grosse Lodz Orsted - 2 x "OEuvre"...'
    ]
    assert lettering.wrapped("", 100, 2) == []
