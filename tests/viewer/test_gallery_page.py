"""A gallery opened from disk in Chromium: filters, order, two runs side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chromium import Watched, open_page
from tests.pages import CONTRASTS, UNNAMED, Colour, is_near, seen, shown, until, until_near
from tests.reported import BLUE, GREEN, RED, job_text, painted, write_inputs
from tilefarm.geometry import Size
from tilefarm.viewer.gallery import write_gallery
from tilefarm.viewer.gallery_page import Card, gallery_page
from tilefarm.viewer.gallery_runs import runs_of
from tilefarm.viewer.report_folder import copy_assets

HOSTILE = "</script><img src=x onerror=\"document.title='broken'\"> & 'q' \U0001f600 \u202e\u05d0"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three runs: two by style weight, and one with the photograph's colours."""
    folder = tmp_path_factory.mktemp("gallery") / "it's # 1"
    write_inputs(folder)
    runs = []
    for name, weight, mode in (("first", 1, "style"), ("second", 2, "style"), ("third", 10, "histogram_rgb")):
        (folder / f"{name}.yaml").write_text(job_text(name))
        overrides = (f"objective.style_weight={weight}", f"color.mode={mode}", "color.when=after")
        runs.append(painted(folder / f"{name}.yaml", *overrides[: 2 if mode == "style" else 3]))
    return write_gallery(runs_of([run.root for run in runs]), folder / "out", True).as_uri()


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Watched]:
    """The gallery; afterwards it must have asked for nothing but its own files, and complained of nothing."""
    with open_page(browser, viewport={"width": 1000, "height": 800}) as watched:
        shown(watched.page, address)
        yield watched
        content = {request for request in watched.requests if not request.startswith("data:")}
        assert all(request.startswith(address.removesuffix("index.html")) for request in content)
        assert watched.complaints == []


def names(page: Page) -> list[str]:
    """Of the runs that are to be seen, in their order."""
    return [card.text_content() or "" for card in page.locator(".run:visible h3").all()]


def test_filters_filter_and_order_orders(opened: Watched) -> None:
    page = opened.page
    assert names(page) == ["first", "second", "third"]
    weight = page.get_by_label("style_weight", exact=True)
    assert weight.locator("option").all_text_contents() == ["all", "1.0", "2.0", "10.0"], "as numbers"
    weight.select_option("2.0")
    assert names(page) == ["second"]
    expect(page.get_by_role("status")).to_have_text("1 of 3 runs")
    page.get_by_label("mode", exact=True).select_option("histogram_rgb")
    assert names(page) == []
    page.get_by_role("button", name="Show all").click()
    expect(page.get_by_role("status")).to_have_text("3 of 3 runs")
    page.get_by_label("Name").fill("IR")
    assert names(page) == ["first", "third"]
    page.get_by_label("Name").fill("")
    page.get_by_label("Order").select_option("name")
    assert names(page) == ["first", "second", "third"]


def test_thumbnails_show_the_runs(opened: Watched) -> None:
    page = opened.page
    until_near(page, "#run-0 .thumbnail", 0.25, RED)
    until_near(page, "#run-0 .thumbnail", 0.75, BLUE)
    until_near(page, "#run-2 .thumbnail", 0.25, GREEN)


def test_two_runs_are_seen_side_by_side_at_one_place(opened: Watched) -> None:
    page = opened.page
    page.get_by_role("button", name="Compare first").click()
    assert not page.locator("#pair").is_visible()
    page.get_by_role("button", name="Compare third").click()
    expect(page.locator("#pair-name-1")).to_have_text("third")
    until_near(page, "#pair-0", 0.25, RED)
    until_near(page, "#pair-1", 0.25, GREEN)
    assert page.locator("#differences tr").all_text_contents() == [
        "style_weight1.010.0",
        "modestylehistogram_rgb",
        "whennoneafter",
    ]
    page.get_by_role("button", name="Compare second").click()
    expect(page.locator("#pair-name-0")).to_have_text("third")
    expect(page.locator("#pair-name-1")).to_have_text("second")
    expect(page.get_by_role("button", name="Compare first")).to_have_attribute("aria-pressed", "false")
    until_near(page, "#pair-1", 0.25, RED)
    box = page.locator("#pair-0").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)

    def closer() -> Colour:
        page.mouse.wheel(0, -200)
        return seen(page, "#pair-1", 0.1)

    until(page, closer, lambda colour: is_near(colour, BLUE))
    page.get_by_role("button", name="Whole picture").click()
    until_near(page, "#pair-1", 0.1, RED)


def test_a_card_leads_to_the_report_and_back(opened: Watched) -> None:
    page = opened.page
    page.get_by_role("link", name="second").click()
    page.wait_for_selector("html[data-ready=yes]")
    expect(page.get_by_role("heading", level=1)).to_have_text("second")
    until_near(page, "#stage", 0.3, GREEN)
    until_near(page, "#stage", 0.7, BLUE)
    page.get_by_role("link", name="All runs").click()
    page.wait_for_selector("#run-2")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_on_a_phone(browser: Browser, address: str, scheme: Any) -> None:
    with open_page(browser, viewport={"width": 360, "height": 780}, color_scheme=scheme) as watched:
        page = watched.page
        shown(page, address)
        page.get_by_role("button", name="Compare first").click()
        page.get_by_role("button", name="Compare third").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.evaluate(CONTRASTS) == []
        assert page.evaluate(UNNAMED) == []
        assert watched.complaints == []


def test_hostile_words_of_a_thousand_runs(browser: Browser, tmp_path: Path) -> None:
    """Labels, values and names are text; cards beyond the first 200 wait until somebody asks."""
    copy_assets(tmp_path / "assets", "report.css", "report_zoom.js", "report_gallery.js")
    zoom = {"url": "tiles/x_files/", "width": 3, "height": 2, "tile": 510, "overlap": 1}
    cards = [
        Card(f"{HOSTILE} {number}", HOSTILE, None, Size(1, 1), zoom, None, 1000.0 - number, 1.0, HOSTILE)
        for number in range(1000)
    ]
    page_file = tmp_path / "index.html"
    values = [(HOSTILE, str(number % 3)) for number in range(1000)]
    page_file.write_bytes(gallery_page(HOSTILE, cards, (HOSTILE, "seed"), values, "assets/"))
    with open_page(browser) as watched:
        page = watched.page
        shown(page, page_file.as_uri())
        expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
        assert page.locator("img").count() == 0
        assert page.locator(".run:visible").count() == 200
        expect(page.get_by_role("status")).to_have_text("1000 of 1000 runs, the first 200 of them shown")
        page.get_by_label("Order").select_option("loss")
        assert names(page)[0] == f"{HOSTILE} 999"
        page.get_by_role("button", name="Show more").click()
        assert page.locator(".run:visible").count() == 400
        page.get_by_label("seed", exact=True).select_option("1")
        expect(page.get_by_role("status")).to_have_text("333 of 1000 runs")
        assert page.title() == f"{HOSTILE} - tilefarm"
        assert watched.complaints == []
