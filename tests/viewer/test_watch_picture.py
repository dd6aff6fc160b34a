"""The picture of the watch page in real Chromium: it grows without a flash, zooms, and is compared."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chromium import Watched, open_page
from tests.scripted_watch import ScriptedWatch, solid

COLOURS = """
(at) => {
  const canvas = document.querySelector("#viewer canvas");
  const spot = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const pen = spot.getContext("2d", { willReadFrequently: true });
  const from = [canvas.width * at[0], canvas.height * at[1], 1, 1].map(Math.floor);
  const name = () => {
    pen.clearRect(0, 0, 1, 1);
    pen.drawImage(canvas, ...from, 0, 0, 1, 1);
    const [red, green, blue, alpha] = pen.getImageData(0, 0, 1, 1).data;
    if (alpha < 255) return "nothing";
    return [["red", red], ["green", green], ["blue", blue]].sort((one, other) => other[1] - one[1])[0][0];
  };
  return name;
}
"""
"""Makes a function that names the colour at a place of the view, the place in fractions of it."""


def wait_for_colour(page: Page, colour: str, across: float = 0.5, down: float = 0.5) -> None:
    page.wait_for_function(f"([at, colour]) => ({COLOURS})(at)() === colour", arg=[[across, down], colour])


def record_colours(page: Page) -> None:
    """Keeps the colour of the middle in every frame from now on, in `window.seen`."""
    page.evaluate(
        f"""() => {{
            const name = ({COLOURS})([0.5, 0.5]);
            window.seen = [];
            const look = () => {{ window.seen.push(name()); requestAnimationFrame(look); }};
            look();
        }}"""
    )


def flight_box(page: Page, worker: int) -> tuple[float, ...]:
    """Where the tile that a worker is at is drawn: x, y, width, height in the stage."""
    box = page.locator(f".flight[data-worker='{worker}'] .box")
    return tuple(float(box.get_attribute(name) or "nan") for name in ("x", "y", "width", "height"))


def wait_for_rest(page: Page) -> None:
    """Until the view has stopped moving: the same place in three frames."""
    page.wait_for_function(
        """() => new Promise((resolve) => {
            const box = document.querySelector(".flight .box");
            const here = () => ["x", "y", "width", "height"].map((name) => box.getAttribute(name)).join();
            let last = here(), same = 0;
            const look = () => {
                same = here() === last ? same + 1 : 0;
                last = here();
                same > 3 ? resolve(true) : requestAnimationFrame(look);
            };
            look();
        })"""
    )


def test_nothing_is_asked_for_elsewhere_and_nothing_is_forbidden(
    watched: Watched, watch: ScriptedWatch
) -> None:
    wait_for_colour(watched.page, "red")
    watched.page.click("#content")
    wait_for_colour(watched.page, "green")
    assert watched.hosts() == {f"127.0.0.1:{watch.port}"}
    assert watched.complaints == []


def test_a_new_level_takes_over_without_a_flash_and_where_one_looked(
    watched: Watched, watch: ScriptedWatch
) -> None:
    page = watched.page
    wait_for_colour(page, "red")
    for _ in range(3):
        page.click("#zoom-in")
    wait_for_rest(page)
    before = flight_box(page, 2)
    assert before[2] > 0.9 * 0.5 * 800
    record_colours(page)
    page.wait_for_function("() => window.seen.length > 2")
    watch.publish(picture={"version": "v2", "width": 1200, "height": 800})
    page.wait_for_selector("[data-version=v2]")
    page.wait_for_function("() => window.seen.slice(-5).every((colour) => colour === 'blue')")
    seen = page.evaluate("window.seen")
    assert seen == sorted(seen, reverse=True), "red, then blue, and nothing between"
    assert set(seen) == {"red", "blue"}
    assert flight_box(page, 2) == pytest.approx(before, abs=0.11)
    assert watched.complaints == []


def test_a_picture_stays_until_all_that_is_in_view_of_the_next_is_there(
    watched: Watched, watch: ScriptedWatch
) -> None:
    page = watched.page
    wait_for_colour(page, "red")
    watch.held_versions.add("v2")
    with page.expect_request(re.compile("/picture/v2/")):
        watch.publish(picture={"version": "v2", "width": 1200, "height": 800})
    record_colours(page)
    page.wait_for_function("() => window.seen.length > 10")
    assert set(page.evaluate("window.seen")) == {"red"}
    watch.held_versions.clear()
    wait_for_colour(page, "blue")


def test_a_picture_that_is_gone_before_it_was_fetched_is_left_out(
    watched: Watched, watch: ScriptedWatch
) -> None:
    page = watched.page
    wait_for_colour(page, "red")
    record_colours(page)
    watch.held_versions.add("gone")
    with page.expect_request(re.compile("/picture/gone/")):
        watch.publish(picture={"version": "gone", "width": 1200, "height": 800})
    watch.publish(picture={"version": "v2", "width": 1200, "height": 800})
    expect(page.locator("#caption")).to_contain_text("1200")
    watch.held_versions.clear()
    page.wait_for_selector("[data-version=v2]")
    wait_for_colour(page, "blue")
    assert set(page.evaluate("window.seen")) == {"red", "blue"}


def test_a_tile_that_did_not_come_is_asked_for_again(watched: Watched, watch: ScriptedWatch) -> None:
    page = watched.page
    page.clock.install()
    wait_for_colour(page, "red")
    with page.expect_response(re.compile("/picture/late/")) as answer:
        watch.publish(picture={"version": "late", "width": 1200, "height": 800})
    assert answer.value.status == 404
    watch.pictures["late"] = solid(1200, 800, "#2020c0")
    page.clock.run_for(3500)
    page.wait_for_selector("[data-version=late]")


def test_a_page_that_nobody_sees_fetches_no_pictures(watched: Watched, watch: ScriptedWatch) -> None:
    page = watched.page
    wait_for_colour(page, "red")
    page.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    watch.publish(picture={"version": "v2", "width": 1200, "height": 800}, share=0.5)
    expect(page.locator("#percent")).to_have_text("50 %")
    assert not any("/picture/v2/" in address for address in watched.requests)
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_selector("[data-version=v2]")


def test_saving_data_fetches_a_picture_in_half_a_minute(browser: Browser, watch: ScriptedWatch) -> None:
    with open_page(browser) as watched:
        page = watched.page
        page.add_init_script("Object.defineProperty(navigator, 'connection', { value: { saveData: true } })")
        page.clock.install()
        page.goto(watch.address)
        page.wait_for_selector("[data-version=v1]")
        watch.publish(picture={"version": "v2", "width": 1200, "height": 800}, share=0.5)
        expect(page.locator("#percent")).to_have_text("50 %")
        page.clock.run_for(20_000)
        assert not any("/picture/v2/" in address for address in watched.requests)
        page.clock.run_for(11_000)
        page.wait_for_selector("[data-version=v2]")


def test_tiles_lie_where_the_picture_has_them(watched: Watched, watch: ScriptedWatch) -> None:
    page = watched.page
    wait_for_rest(page)
    stage = page.locator("#stage").bounding_box()
    assert stage is not None
    left, upper, width, height = flight_box(page, 2)
    # The picture fills the stage in one direction and is in its middle; the tile is its lower right quarter.
    across, down = left + width, upper + height
    assert 2 * left == pytest.approx(stage["width"], abs=1)
    assert 2 * upper == pytest.approx(stage["height"], abs=1)
    assert width / height == pytest.approx(1.5, rel=0.01)
    slack = (stage["width"] - across, stage["height"] - down)
    assert min(slack) == pytest.approx(0, abs=1)
    assert page.locator("#overlay .done").get_attribute("d").count("M") == 2  # type: ignore[union-attr]
    assert [bar.get_attribute("data-share") for bar in page.locator("#overlay .bar").all()] == ["0.4", "0.1"]
    expect(page.locator(".flight text")).to_have_text(["worker 1 · 12/30", "worker 2 · 3/30"])


def test_tiles_are_switched_off_and_on_and_follow_the_run(watched: Watched, watch: ScriptedWatch) -> None:
    page = watched.page
    expect(page.locator(".flight")).to_have_count(2)
    page.keyboard.press("t")
    expect(page.locator("#overlay")).to_be_hidden()
    expect(page.locator("#tiles")).to_have_attribute("aria-pressed", "false")
    watch.publish(tiles={"done": [[0, 0, 1, 1]], "in_flight": [], "total": 6})
    expect(page.locator("#facts")).to_contain_text("1 of 6 done, 0 in work")
    page.click("#tiles")
    expect(page.locator("#overlay")).to_be_visible()
    expect(page.locator(".flight")).to_have_count(0)
    assert (page.locator("#overlay .done").get_attribute("d") or "").count("M") == 1


def test_zoom_by_buttons_keys_and_wheel(watched: Watched) -> None:
    page = watched.page
    wait_for_rest(page)
    whole = flight_box(page, 1)
    page.click("#pixels")
    expect(page.locator("#zoom")).to_have_text("100 %")
    wait_for_rest(page)
    assert flight_box(page, 1)[2] == pytest.approx(300, abs=1), "half of 600 pixels"
    page.focus("#viewer .openseadragon-canvas")
    page.keyboard.press("+")
    expect(page.locator("#zoom")).to_have_text("150 %")
    wait_for_rest(page)
    before = flight_box(page, 1)
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        f"() => Number(document.querySelector('.flight .box').getAttribute('x')) < {before[0] - 20}"
    )
    page.keyboard.press("0")
    wait_for_rest(page)
    assert flight_box(page, 1) == pytest.approx(whole, abs=0.5)
    page.mouse.move(500, 300)
    page.mouse.wheel(0, -300)
    page.wait_for_function(
        f"() => Number(document.querySelector('.flight .box').getAttribute('width')) > {whole[2] * 1.1}"
    )


def test_the_photograph_is_fetched_when_looked_at_and_ends_at_the_line(watched: Watched) -> None:
    page = watched.page
    wait_for_colour(page, "red")
    assert not any("/content/" in address for address in watched.requests)
    page.focus("#content-share")
    page.locator("#content-share").fill("50")
    wait_for_colour(page, "green", across=0.3)
    wait_for_colour(page, "red", across=0.7)
    expect(page.locator("#wipe")).to_be_visible()
    expect(page.locator("#content-share")).to_have_attribute("aria-valuetext", "the left 50 %")
    page.click("#zoom-in")
    page.click("#zoom-in")
    wait_for_rest(page)
    wait_for_colour(page, "green", across=0.48)
    wait_for_colour(page, "red", across=0.52)
    page.click("h1")
    page.keyboard.press("c")
    wait_for_colour(page, "red", across=0.3)
    page.keyboard.press("c")
    wait_for_colour(page, "green", across=0.7)
    expect(page.locator("#content")).to_have_attribute("aria-pressed", "true")
