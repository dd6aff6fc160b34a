"""A report opened from disk in Chromium: what is drawn, what divider and keys do, what it asks for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.chromium import Watched, open_page
from tests.pages import CONTRASTS, UNNAMED, Colour, is_near, seen, shown, until, until_near
from tests.reported import BLUE, GREEN, RED, job_text, painted, small_run, write_inputs
from tilefarm.rundir.layout import RunDir
from tilefarm.viewer.report import write_report


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "a folder, it's # 1 & [50%25]"


@pytest.fixture(scope="module")
def run(folder: Path) -> RunDir:
    return small_run(folder)


@pytest.fixture(scope="module")
def address(run: RunDir) -> str:
    return write_report(run).as_uri()


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Watched]:
    """The report; afterwards it must have asked for nothing but its own files, and complained of nothing."""
    with open_page(browser, viewport={"width": 1000, "height": 800}) as watched:
        shown(watched.page, address)
        yield watched
        content = {request for request in watched.requests if not request.startswith("data:")}
        assert all(request.startswith(address.removesuffix("index.html")) for request in content)
        assert watched.complaints == []


VIEWER = "OpenSeadragon.getViewer('result')"


def seen_width(page: Page) -> float:
    """The share of the picture's width that is in view."""
    width: float = page.evaluate(f"{VIEWER}.viewport.getBounds(true).width")
    return width


def test_photograph_and_painting_are_drawn_on_the_sides_of_the_divider(opened: Watched, run: RunDir) -> None:
    until_near(opened.page, "#stage", 0.3, GREEN)
    until_near(opened.page, "#stage", 0.7, BLUE)
    with Image.open(json.loads(run.summary.read_text())["output"]) as picture:
        found: Any = picture.convert("RGB").getpixel((picture.width * 3 // 4, picture.height // 4))
    assert is_near(seen(opened.page, "#stage", 0.7), found), "the output file's own colour"


def test_keys_move_the_divider(opened: Watched) -> None:
    page, divider = opened.page, opened.page.get_by_role("slider")
    until_near(page, "#stage", 0.3, GREEN)
    divider.focus()
    page.keyboard.press("Home")
    expect(divider).to_have_attribute("aria-valuenow", "0")
    until_near(page, "#stage", 0.3, RED)
    page.keyboard.press("End")
    until_near(page, "#stage", 0.7, GREEN)
    page.keyboard.press("PageDown")
    page.keyboard.press("ArrowLeft")
    expect(divider).to_have_attribute("aria-valuenow", "88")
    expect(divider).to_have_attribute("aria-valuetext", "Photograph on the left 88 percent")
    until_near(page, "#stage", 0.7, GREEN)


def test_the_divider_is_dragged_and_stays_while_the_picture_moves(opened: Watched) -> None:
    page = opened.page
    until_near(page, "#stage", 0.3, GREEN)
    box = page.locator("#stage").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuenow", "90")
    until_near(page, "#stage", 0.8, GREEN)
    page.get_by_label("Closer").first.click()
    page.get_by_label("Closer").first.click()
    until_near(page, "#stage", 0.95, BLUE)
    page.get_by_label("Move left").first.click()
    page.get_by_label("Move left").first.click()
    until_near(page, "#stage", 0.95, RED)
    until_near(page, "#stage", 0.85, GREEN)
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuenow", "90")


def test_every_level_follows_the_picture(opened: Watched) -> None:
    page = opened.page
    page.locator("#levels").scroll_into_view_if_needed()
    for number in (1, 2):
        until_near(page, f"#level-{number}", 0.25, RED)
        until_near(page, f"#level-{number}", 0.75, BLUE)
    for _ in range(4):
        page.get_by_label("Closer").last.click()
    for _ in range(2):
        page.get_by_label("Move right").last.click()
    for number in (1, 2):
        until_near(page, f"#level-{number}", 0.1, BLUE)
    page.get_by_label("Whole picture").last.click()
    for number in (1, 2):
        until_near(page, f"#level-{number}", 0.1, RED)


def test_a_click_on_a_level_brings_that_point_to_the_middle(opened: Watched) -> None:
    page = opened.page
    page.locator("#levels").scroll_into_view_if_needed()
    until_near(page, "#level-2", 0.25, RED)
    for _ in range(4):
        page.get_by_label("Closer").last.click()
    until_near(page, "#level-1", 0.1, RED)
    box = page.locator("#level-2").bounding_box()
    assert box is not None
    for _ in range(2):
        page.mouse.click(box["x"] + 2, box["y"] + box["height"] / 2)
    for number in (1, 2):
        until_near(page, f"#level-{number}", 0.7, RED)


def test_keys_zoom_the_picture(opened: Watched) -> None:
    page = opened.page
    page.locator("#levels").scroll_into_view_if_needed()
    until_near(page, "#level-2", 0.45, RED)
    page.locator("#result .openseadragon-canvas").focus()
    whole = seen_width(page)

    def closer() -> float:
        page.keyboard.press("+")
        return seen_width(page)

    until(page, closer, lambda width: width < whole / 1.5)

    def moved() -> Colour:
        page.keyboard.press("ArrowRight")
        return seen(page, "#level-2", 0.45)

    until(page, moved, lambda colour: is_near(colour, BLUE))
    page.keyboard.press("0")
    until_near(page, "#level-2", 0.45, RED)


def test_a_whole_picture_stays_whole_in_another_window(opened: Watched) -> None:
    page = opened.page
    until_near(page, "#stage", 0.7, BLUE)
    page.set_viewport_size({"width": 420, "height": 800})
    until_near(page, "#stage", 0.05, GREEN)
    until_near(page, "#stage", 0.95, BLUE)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_is_readable_everywhere(browser: Browser, address: str, width: int, scheme: Any) -> None:
    with open_page(browser, viewport={"width": width, "height": 800}, color_scheme=scheme) as watched:
        page = watched.page
        shown(page, address)
        for summary in page.locator("summary").all():
            summary.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CONTRASTS) == []
        assert page.evaluate(UNNAMED) == []
        headings = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(e => Number(e.tagName[1]))")
        assert headings[0] == 1
        assert headings.count(1) == 1
        assert all(b - a <= 1 for a, b in pairwise(headings))
        assert watched.complaints == []


def test_tables_and_buttons_fit_a_phone(browser: Browser, address: str) -> None:
    """No table has to be scrolled, no key is broken within a word, and the arrows are in one row."""
    with open_page(browser, viewport={"width": 360, "height": 740}, color_scheme="dark") as watched:
        page = watched.page
        shown(page, address)
        page.locator("summary", has_text="All settings").click()
        tables = page.evaluate(
            "() => [...document.querySelectorAll('.table')].filter((one) => one.checkVisibility())"
            ".map((one) => one.scrollWidth - one.clientWidth)"
        )
        assert tables == [0, 0, 0]
        broken = page.evaluate(
            """() => {
                const found = [];
                const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
                while (walker.nextNode()) {
                    const part = walker.currentNode;
                    const range = document.createRange();
                    range.selectNodeContents(part);
                    const lines = range.getClientRects().length;
                    if (part.parentElement.closest("tbody th") && lines > 1) found.push(part.textContent);
                }
                return found;
            }"""
        )
        assert broken == []
        rows = page.evaluate(
            "() => [...document.querySelectorAll('.controls')]"
            ".map((bar) => new Set([...bar.children].slice(0, 7).map((button) => button.offsetTop)).size)"
        )
        assert rows == [1, 1]


def test_motion_is_reduced_where_that_is_wished(browser: Browser, address: str) -> None:
    with open_page(browser, viewport={"width": 1000, "height": 800}, reduced_motion="reduce") as watched:
        page = watched.page
        shown(page, address)
        page.wait_for_function(f"{VIEWER}.world.getItemCount() === 2")
        whole = seen_width(page)
        page.evaluate("document.querySelector('[aria-label=\"Closer\"]').click()")
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert seen_width(page) == pytest.approx(whole / 1.5), "there at once"


HOSTILE = "<img src=x onerror=\"document.title='broken'\"> & 'q' \U0001f600 \u05d0\u05d1.png"


def test_hostile_names_are_text(browser: Browser, tmp_path: Path) -> None:
    write_inputs(tmp_path)
    place = tmp_path / "<" / "script>"
    place.mkdir(parents=True)
    (tmp_path / "content.png").rename(place / HOSTILE)
    (tmp_path / "gate.yaml").write_text(job_text("gate", f"</script>/{HOSTILE}"))
    run = painted(tmp_path / "gate.yaml")
    record = json.loads(run.summary.read_text())
    record |= {"status": "failed", "message": "</script><script>document.title='broken'</script>"}
    run.summary.write_text(json.dumps(record))
    with open_page(browser) as watched:
        shown(watched.page, write_report(run).as_uri())
        expect(watched.page.get_by_text(HOSTILE).first).to_be_visible()
        expect(watched.page.get_by_text(record["message"])).to_be_visible()
        assert watched.page.title() == "gate - tilefarm"
        assert watched.page.locator("img").count() == 3, "content, style, start"
        assert watched.complaints == []


def test_a_run_that_is_not_done_shows_what_there_is(browser: Browser, run: RunDir, tmp_path: Path) -> None:
    """Its last level is not on record any more, and run.json says that it was interrupted."""
    lines = run.journal.read_bytes().splitlines(keepends=True)
    first_of_last = next(i for i, line in enumerate(lines) if b'"level","level":1' in line)
    kept = (run.journal.read_bytes(), run.summary.read_bytes())
    try:
        run.journal.write_bytes(b"".join(lines[: first_of_last + 1]))
        run.summary.write_text(json.dumps(json.loads(kept[1]) | {"status": "interrupted"}))
        page_file = write_report(run, tmp_path / "report")
    finally:
        run.journal.write_bytes(kept[0])
        run.summary.write_bytes(kept[1])
    with open_page(browser) as watched:
        shown(watched.page, page_file.as_uri())
        sentence = watched.page.get_by_text("This run is not done, it is interrupted: 1 of 2 levels finished")
        expect(sentence).to_be_visible()
        until_near(watched.page, "#stage", 0.7, BLUE)
        assert watched.page.locator(".small-stage").count() == 1
        expect(watched.page.get_by_text("not finished")).to_be_visible()
        assert watched.complaints == []


def test_a_picture_one_pixel_wide(browser: Browser, tmp_path: Path) -> None:
    write_inputs(tmp_path, (1, 90))
    Image.new("RGB", (1, 90), BLUE).save(tmp_path / "start.png")
    (tmp_path / "gate.yaml").write_text(job_text("gate"))
    run = painted(tmp_path / "gate.yaml")
    with open_page(browser, viewport={"width": 800, "height": 700}) as watched:
        shown(watched.page, write_report(run).as_uri())
        watched.page.get_by_role("slider").press("Home")
        until_near(watched.page, "#stage", 0.5, BLUE, 0.5)
        until_near(watched.page, "#level-1", 0.5, BLUE, 0.5)
        assert watched.complaints == []


def test_a_sheet_is_larger_than_its_photograph(browser: Browser, tmp_path: Path) -> None:
    """A photograph of 4:3 on a square sheet with bleed: the painting goes on mirrored above and below."""
    write_inputs(tmp_path)
    (tmp_path / "gate.yaml").write_text(job_text("gate"))
    paper = "output.print={width: 10in, height: 10in, bleed: 1in, fit: pad}"
    run = painted(tmp_path / "gate.yaml", paper, "output.dpi=10")
    with open_page(browser, viewport={"width": 900, "height": 900}) as watched:
        page = watched.page
        shown(page, write_report(run).as_uri())
        page.get_by_role("slider").press("End")
        until_near(page, "#stage", 0.5, GREEN, 0.5)
        for down, wanted in ((0.12, BLUE), (0.25, GREEN), (0.75, GREEN), (0.88, BLUE)):
            until_near(page, "#stage", 0.6, wanted, down)
        expect(page.get_by_text("30.5 x 30.5 cm at 10 dpi")).to_be_visible()
        expect(page.get_by_text("25.4 x 25.4 cm")).to_be_visible()
        expect(page.locator("#facts").get_by_text("1in", exact=True)).to_be_visible()
        assert watched.complaints == []
