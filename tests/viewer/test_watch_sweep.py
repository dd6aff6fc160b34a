"""The page of a sweep: it goes from run to run, and says which of how many it shows."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.chromium import Watched
from tests.scripted_watch import ScriptedWatch, solid
from tests.viewer.test_watch_picture import wait_for_colour


def test_runs_of_a_sweep_follow_each_other(watched: Watched, watch: ScriptedWatch) -> None:
    """Nothing of the run before stays: neither its picture nor its photograph."""
    page = watched.page
    watch.publish(turn={"number": 1, "total": 3})
    expect(page.locator("#summary")).to_contain_text("run 1 of 3 · level 2 of 3")
    expect(page).to_have_title("43 % · run 1 of 3 · demo · tilefarm")
    page.click("#cancel")
    expect(page.locator("#sure-others")).to_contain_text("The 2 runs that follow will not be begun")
    page.click("#sure-no")
    page.click("#content")
    wait_for_colour(page, "green")

    watch.content = solid(900, 900, "#2020c0")
    square = {"width": 900, "height": 900}
    second = {"name": "other", "root": "/runs/other-0", "size": square, "content": square | {"version": "2"}}
    watch.publish(picture=None, turn={"number": 3, "total": 3}, **second)
    expect(page.locator("#name")).to_have_text("other")
    expect(page.locator("#empty")).to_be_visible()
    expect(page.locator("#viewer")).not_to_have_attribute("data-version", "v1")
    wait_for_colour(page, "blue")
    watch.pictures["w1"] = solid(450, 450, "#c02020")
    watch.publish(picture={"version": "w1", "width": 450, "height": 450})
    page.wait_for_selector("[data-version=w1]")
    page.click("#content")
    wait_for_colour(page, "red")
    expect(page.locator("#sure-others")).to_have_text("")

    resume = watch.state["resume"]
    watch.publish(status="cancelled", turn={"number": 2, "total": 3})
    expect(page.locator("#outcome")).to_have_text(
        f"Cancelled. What is painted is kept. To go on: {resume}. "
        "Not begun: the run that follows; the same tilefarm submit goes on with all."
    )
