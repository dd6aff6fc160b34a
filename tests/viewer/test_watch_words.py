"""The words, tables, curves and buttons of the watch page in real Chromium."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
from playwright.sync_api import Page, expect

from tests.chromium import Watched
from tests.scripted_watch import ScriptedWatch, running


def cells(page: Page, selector: str) -> list[list[str]]:
    return [row.locator("td").all_inner_texts() for row in page.locator(f"{selector} tbody tr").all()]


def test_what_is_known_is_told(watched: Watched) -> None:
    page = watched.page
    expect(page).to_have_title("43 % · demo · tilefarm")
    expect(page.locator("#status")).to_have_text("running")
    expect(page.locator("#summary")).to_have_text(
        "level 2 of 3, 600 × 400 · painting · about 1 h 20 min left"
    )
    assert page.locator("#facts").inner_text().split("\n") == [
        *("level", "2 of 3 · 600 × 400", "round", "1 of 3", "iteration", "12 of 30", "doing", "painting"),
        *("tiles", "6, 2 in work", "so far", "1 h 20 min"),
    ]
    assert cells(page, "#levels") == [
        ["1", "300 × 200", "1", "413 → 87.3", "1 min 1 s"],
        ["2", "600 × 400", "6", "96.1 → …", "30 s"],
        ["3", "1200 × 800", "20", "–", "–"],
    ]
    expect(page.locator("#levels [aria-current]")).to_contain_text("600 × 400")
    assert cells(page, "#workers") == [
        ["1", "cpu", "working", "0.61", "2.3 GiB"],
        ["2", "cpu", "lost", "–", "–"],
    ]
    expect(page.locator("#machine")).to_have_text("driver 384 MiB · 50 GiB of disk free")
    expect(page.locator("#faults")).to_have_text("Survived: 1 worker lost, 2 tiles done again.")
    expect(page.locator("#said li")).to_have_text(
        [re.compile("Level 2 of 3 began.$"), re.compile("its tile is done again.$")]
    )
    expect(page.locator("#run")).to_contain_text("/pictures/out/demo.png")
    expect(page.locator("#caption")).to_have_text("Now 600 × 400 pixels, in the end 1200 × 800.")


def test_before_anything_is_known(watched: Watched, watch: ScriptedWatch) -> None:
    nothing = (
        "share",
        "seconds_left",
        "level",
        "round",
        "rounds",
        "iteration",
        "iterations",
        "doing",
        "picture",
    )
    watch.publish(
        **dict.fromkeys(nothing), status="waiting", levels=[], losses=[], workers=[], said=[],
        tiles={"done": [], "in_flight": [], "total": None}, disk_free_bytes=None, driver={"rss_bytes": None},
        faults=dict.fromkeys(running()["faults"], 0),
        can={"pause": False, "continue": False, "cancel": False},
    )  # fmt: skip
    page = watched.page
    expect(page.locator("#status")).to_have_text("waiting")
    expect(page).to_have_title("waiting · demo · tilefarm")
    expect(page.locator("#faults")).to_have_text("Nothing went wrong.")
    expect(page.locator("#workers")).to_have_text("No workers at the moment.")
    expect(page.locator("#percent")).to_have_text("–")
    assert watched.complaints == []
    for word in ("null", "undefined", "NaN"):
        expect(page.locator("body")).not_to_contain_text(word)


@pytest.mark.parametrize(
    ("status", "message", "told"),
    [
        ("done", None, "Done: the picture is /pictures/out/demo.png"),
        ("failed", "Tile 7 failed on three workers.", "Tile 7 failed on three workers."),
        ("interrupted", None, "To go on: tilefarm resume /runs/demo-0123abcd"),
        (
            "cancelled",
            None,
            "Cancelled. What is painted is kept. To go on: tilefarm resume /runs/demo-0123abcd",
        ),
    ],
)
def test_the_end_is_told(
    watched: Watched, watch: ScriptedWatch, status: str, message: str | None, told: str
) -> None:
    can = {"pause": False, "continue": False, "cancel": False}
    watch.publish(status=status, message=message, share=1.0 if status == "done" else 0.4, can=can)
    page = watched.page
    expect(page.locator("#outcome")).to_be_visible()
    expect(page.locator("#outcome")).to_contain_text(told)
    expect(page.locator("#left")).to_have_text("")
    expect(page).to_have_title(f"{status} · demo · tilefarm")
    for button in ("#pause", "#cancel"):
        expect(page.locator(button)).to_have_attribute("aria-disabled", "true")


def test_pause_and_continue_are_asked_for_once(watched: Watched, watch: ScriptedWatch) -> None:
    page = watched.page
    watch.answer = (200, "The run rests after this tile.")
    page.click("#pause")
    expect(page.locator("#answer")).to_have_text("The run rests after this tile.")
    expect(page.locator("#pause")).to_have_text("Pausing …")
    page.keyboard.press("p")
    page.locator("#pause").click(force=True)
    watch.publish(status="paused", can={"pause": False, "continue": True, "cancel": True})
    expect(page.locator("#pause")).to_have_text("Continue")
    expect(page.locator("#pause")).to_be_focused()
    expect(page.locator("#outcome")).to_contain_text("Paused")
    assert watch.posts == ["pause"]
    page.keyboard.press("Space")
    expect(page.locator("#pause")).to_have_text("Continuing …")
    watch.publish(status="running", can={"pause": True, "continue": False, "cancel": True})
    expect(page.locator("#pause")).to_have_text("Pause")
    expect(page.locator("#outcome")).to_be_hidden()
    assert watch.posts == ["pause", "continue"]


def test_a_refusal_is_told_and_can_be_tried_again(watched: Watched, watch: ScriptedWatch) -> None:
    page = watched.page
    watch.answer = (409, "The run ends in a moment anyway.")
    page.keyboard.press("p")
    expect(page.locator("#answer")).to_have_text("The run ends in a moment anyway.")
    expect(page.locator("#pause")).to_have_text("Pause")
    page.keyboard.press("p")
    page.wait_for_function("() => document.querySelector('#pause').getAttribute('aria-disabled') === 'false'")
    assert watch.posts == ["pause", "pause"]


def test_cancel_asks_once_more(watched: Watched, watch: ScriptedWatch) -> None:
    page = watched.page
    page.click("#cancel")
    expect(page.get_by_role("dialog", name="Cancel this run?")).to_be_visible()
    expect(page.locator("#sure-no")).to_be_focused()
    page.keyboard.press("p")  # a slip of a finger in the question
    page.keyboard.press("Escape")
    expect(page.locator("#sure")).to_be_hidden()
    expect(page.locator("#cancel")).to_be_focused()
    page.keyboard.press("Enter")
    page.click("#sure-no")
    expect(page.locator("#sure")).to_be_hidden()
    assert watch.posts == []
    page.click("#cancel")
    page.click("#sure-yes")
    expect(page.locator("#cancel")).to_have_text("Cancelling …")
    assert watch.posts == ["cancel"]


def test_the_command_is_copied(watched: Watched) -> None:
    page = watched.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#copy")
    expect(page.locator("#answer")).to_have_text("The command is on the clipboard.")
    assert page.evaluate("() => navigator.clipboard.readText()") == "tilefarm resume /runs/demo-0123abcd"


def test_where_copying_is_forbidden_the_command_is_marked(watched: Watched) -> None:
    page = watched.page
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
    page.click("#copy")
    expect(page.locator("#answer")).to_contain_text("Ctrl-C")
    assert page.evaluate("() => String(getSelection())") == "tilefarm resume /runs/demo-0123abcd"


def test_a_lost_connection_is_told_and_found_again(watched: Watched, watch: ScriptedWatch) -> None:
    page = watched.page
    watch.stop()
    try:
        alert = page.get_by_role("alert").filter(has_text="No connection")
        expect(alert).to_contain_text(re.compile(r"last heard at \d\d:\d\d:\d\d"))
        expect(page.locator("#pause")).to_have_attribute("aria-disabled", "true")
        watch.state = {**watch.state, "share": 0.75}
    finally:
        watch.start()
    expect(page.locator("#percent")).to_have_text("75 %")
    expect(alert).to_be_hidden()
    expect(page.locator("#pause")).to_have_attribute("aria-disabled", "false")


def test_a_server_that_ends_says_so_and_is_not_asked_again(watched: Watched, watch: ScriptedWatch) -> None:
    page = watched.page
    watch.says_end = True
    watch.publish(status="done")
    expect(page.locator("#status")).to_have_text("done")
    watch.stop()
    try:
        banner = page.locator("#connection")
        expect(banner).to_have_text(
            re.compile(r"The page's server has ended: this is how the run ended at \d\d:\d\d:\d\d\.")
        )
        expect(page.locator("#outcome")).to_contain_text("Done")
        expect(page.locator("#cancel")).to_have_attribute("aria-disabled", "true")
        asked = len(watched.requests)
        page.clock.install()
        page.clock.run_for(120_000)
        assert watched.requests[asked:] == []
        expect(banner).to_contain_text("has ended")
    finally:
        watch.start()


def test_a_server_that_ends_before_its_run_tells_how_to_look_again(
    watched: Watched, watch: ScriptedWatch
) -> None:
    watch.says_end = True
    watch.stop()
    try:
        expect(watched.page.locator("#connection")).to_contain_text("Look again with: tilefarm watch")
    finally:
        watch.start()


def test_while_a_pause_is_asked_for_the_work_is_told(watched: Watched, watch: ScriptedWatch) -> None:
    page = watched.page
    message = "pausing: the level is measured first"
    can = {"pause": False, "continue": True, "cancel": True}
    watch.publish(status="pausing", message=message, doing="measuring", can=can)
    expect(page.locator("#status")).to_have_text("pausing")
    expect(page.locator("#outcome")).to_have_text("Pausing: the level is measured first.")
    expect(page.locator("#facts")).to_contain_text("measuring")
    expect(page.locator("#summary")).to_contain_text("measuring")
    expect(page.locator("#pause")).to_have_text("Continue")
    watch.publish(status="paused", message=None)
    expect(page.locator("#outcome")).to_contain_text("Paused.")
    expect(page.locator("#facts")).not_to_contain_text("measuring")


def test_a_line_that_hangs_is_noticed(watched: Watched, watch: ScriptedWatch) -> None:
    """Nothing comes and nothing fails, as through a tunnel whose other end is gone."""
    page = watched.page
    page.clock.install()
    page.reload()
    expect(page.locator("#status")).to_have_text("running")
    page.route("**/state.json", lambda route: route.abort("connectionrefused"))
    page.route("**/events", lambda route: route.abort("connectionrefused"))
    page.clock.run_for(20_000)
    expect(page.locator("#connection")).to_be_hidden()
    page.clock.run_for(25_000)
    expect(page.locator("#connection")).to_be_visible()
    page.unroute_all()
    page.clock.run_for(10_000)
    expect(page.locator("#connection")).to_be_hidden()


def test_a_quiet_run_is_not_taken_for_a_lost_connection(watched: Watched) -> None:
    page = watched.page
    page.clock.install()
    page.reload()
    expect(page.locator("#status")).to_have_text("running")
    with page.expect_response("**/state.json"):
        page.clock.run_for(45_000)
    expect(page.locator("#connection")).to_be_hidden()


def test_changes_are_read_out_and_numbers_are_not(watched: Watched, watch: ScriptedWatch) -> None:
    page = watched.page
    live = page.locator("#live")
    expect(live).to_have_text("demo is running, level 2 of 3.")
    page.evaluate(
        """() => {
            window.read = [];
            new MutationObserver(() => window.read.push(document.querySelector("#live").textContent))
                .observe(document.querySelector("#live"), { childList: true, subtree: true });
        }"""
    )
    for share in (0.5, 0.6, 0.7):
        watch.publish(share=share, iteration=int(share * 30))
        expect(page.locator("#percent")).to_have_text(f"{share * 100:.0f} %")
    assert page.evaluate("() => window.read") == []
    watch.publish(level=3)
    expect(live).to_have_text("demo is running, level 3 of 3.")
    watch.publish(status="paused")
    expect(live).to_have_text("demo is paused.")


def test_curves_have_a_logarithmic_axis_and_a_line_per_term_that_is_on(
    watched: Watched, watch: ScriptedWatch
) -> None:
    page = watched.page
    exact = [(step, 10.0 ** (3 - step)) for step in range(4)]
    watch.publish(
        losses=[
            {"level": 1, "step": step, "total": value, "content": 2 * value, "style": 0.0, "tv": 0.0}
            for step, value in exact
        ]
    )
    expect(page.locator("#reading")).to_contain_text("step 3")
    lines = page.locator("#chart .line")
    expect(lines).to_have_count(2)
    path = page.locator("#chart .line.total").get_attribute("d") or ""
    spots = [tuple(map(float, spot.split())) for spot in re.split("[ML]", path) if spot]
    assert path.count("M") == 1
    steps = [after[1] - before[1] for before, after in pairwise(spots)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.2), "a tenth is always the same way down"
    assert steps[0] > 20
    ahead = [after[0] - before[0] for before, after in pairwise(spots)]
    assert ahead == pytest.approx([ahead[0]] * 3, abs=0.2)
    other = page.locator("#chart .line.content").get_attribute("d") or ""
    first = float(re.split("[ML ]", other)[2])
    assert spots[0][1] - first == pytest.approx(math.log10(2) * steps[0], abs=0.2)


def test_curves_are_read_by_keys_and_by_mouse(watched: Watched) -> None:
    page = watched.page
    chart = page.get_by_role("slider", name="A point on the loss curves")
    expect(chart).to_have_attribute(
        "aria-valuetext", "Level 2, step 20, total 29.5, style 7.50, content 22.0"
    )
    chart.focus()
    page.keyboard.press("Home")
    expect(chart).to_have_attribute("aria-valuetext", "Level 1, step 1, total 320, style 300, content 20.1")
    page.keyboard.press("ArrowRight")
    expect(chart).to_have_attribute("aria-valuenow", "1")
    expect(page.locator("#reading")).to_contain_text("Level 1, step 2")
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    expect(chart).to_have_attribute("aria-valuenow", "79")
    box = chart.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 50, box["y"] + 60)
    expect(page.locator("#reading")).to_contain_text("Level 1, step 1")
    page.mouse.move(5, 5)
    expect(page.locator("#reading")).to_contain_text("Level 2, step 20")


def test_curves_of_levels_are_apart_and_there_is_a_table(watched: Watched) -> None:
    page = watched.page
    assert (page.locator("#chart .line.total").get_attribute("d") or "").count("M") == 2
    assert cells(page, "#losses-table") == []
    page.click("#losses-table summary")
    page.wait_for_selector("#losses-table tbody tr")
    rows = cells(page, "#losses-table")
    assert len(rows) == 80
    assert rows[0] == ["1", "1", "320", "300", "20.1", "0"]


def test_single_keys_can_be_switched_off(watched: Watched, watch: ScriptedWatch) -> None:
    page = watched.page
    page.click("#keys-title")
    page.get_by_label("Single keys act on the page").uncheck()
    page.keyboard.press("p")
    page.keyboard.press("t")
    page.click("#tiles")
    expect(page.locator("#tiles")).to_have_attribute("aria-pressed", "false")
    assert watch.posts == []


FORMS: dict[str, dict[float, str]] = {
    "duration": {0: "0 s", 59.4: "59 s", 59.6: "1 min", 61: "1 min 1 s", 120: "2 min", 599: "9 min 59 s",
                 3570: "1 h", 4800: "1 h 20 min", 86_400: "1 d", 273_600: "3 d 4 h"},
    "bytes": {0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 2_469_606_195: "2.3 GiB", 1_073_700_000: "1.0 GiB",
              53_687_091_200: "50 GiB"},
    "number": {0: "0", 0.00001234: "1.2e-5", 0.0123: "0.0123", 1.516: "1.52", 87.53: "87.5", 412.5: "413",
               4210: "4,210", 123_456_789: "1.2e+8"},
    "rate": {0.002: "0.002", 0.612: "0.61", 1.5: "1.5", 123.4: "120"},
    "percent": {0: "0 %", 0.999: "99 %", 1: "100 %"},
}  # fmt: skip


def test_numbers_are_written_for_people(watched: Watched) -> None:
    for form in FORMS:
        check_form(watched.page, form)


def check_form(page: Page, form: str) -> None:
    values: list[float | None] = [*FORMS[form], None]
    told = page.evaluate(
        """async ([form, values]) => {
            const all = await import("./static/format.js");
            return values.map(all[form]);
        }""",
        [form, values],
    )
    assert told == [*FORMS[form].values(), "–"]
