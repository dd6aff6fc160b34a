"""A browser for the tests of a module, a scripted run, and its page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.chromium import Watched, chromium, open_page
from tests.scripted_watch import ScriptedWatch, running, serving, solid


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for a module and not for the session: see `chromium`."""
    with chromium() as opened:
        yield opened


@pytest.fixture
def watch() -> Iterator[ScriptedWatch]:
    """A server of a run; its pictures are red (v1) and blue (v2), the photograph is green."""
    pictures = {"v1": solid(600, 400, "#c02020"), "v2": solid(1200, 800, "#2020c0")}
    with serving(ScriptedWatch(running(), pictures, solid(1200, 800, "#20c020"))) as server:
        yield server


@pytest.fixture
def watched(browser: Browser, watch: ScriptedWatch) -> Iterator[Watched]:
    """Its page, showing its first picture."""
    with open_page(browser, viewport={"width": 1280, "height": 900}) as opened:
        opened.page.goto(watch.address)
        opened.page.wait_for_selector("[data-version=v1]")
        yield opened
