"""A run that really works, watched in real Chromium to its end: paused, continued, cancelled, resumed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests import standin_program
from tests.chromium import open_page

SECONDS = 60.0
JOB = """
content: content.png
style: style.png
output: {path: out.png}
method: feathered
pyramid: {smallest: 64}
tiles: {size: 64, rounds: 2}
"""


@dataclass
class Farm:
    """A job in a folder, and the processes that work on it; they can be held in a tile."""

    folder: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(
        self, *arguments: str | Path, stdout: int | IO[str] = subprocess.DEVNULL
    ) -> subprocess.Popen[str]:
        program = [sys.executable, "-m", "tests.standin_program", str(self.folder), *map(str, arguments)]
        root = Path(standin_program.__file__).parents[1]
        process = subprocess.Popen(program, cwd=root, text=True, stdout=stdout, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def hold(self) -> None:
        """The next worker that comes to a certain tile stays in it until `release`."""
        for name in ("held", "release"):
            (self.folder / name).unlink(missing_ok=True)
        (self.folder / "hold").touch()

    def wait_until_held(self, process: subprocess.Popen[str]) -> None:
        self._wait(process, (self.folder / "held").exists)

    def release(self) -> None:
        (self.folder / "release").touch()

    @property
    def run(self) -> Path:
        (root,) = (self.folder / "runs").iterdir()
        return root

    def _wait(self, process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
        end = time.monotonic() + SECONDS
        while not condition():
            assert process.poll() is None, f"it ended with {process.returncode}"
            assert time.monotonic() < end
            time.sleep(0.005)

    def close(self) -> None:
        self.release()
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    rng = np.random.default_rng(5)
    for name, shape in (("content", (144, 192, 3)), ("style", (80, 96, 3))):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "job.yaml").write_text(JOB)
    opened = Farm(tmp_path)
    try:
        yield opened
    finally:
        opened.close()


def watching(farm: Farm) -> tuple[subprocess.Popen[str], str]:
    """`tilefarm watch` on the run, and the address that it prints."""
    process = farm.start("watch", farm.run, stdout=subprocess.PIPE)
    assert process.stdout is not None
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found is not None
    return process, found[0]


def status(page: Page, told: str) -> None:
    expect(page.locator("#status")).to_have_text(told)


def test_a_run_is_watched_paused_cancelled_and_resumed(browser: Browser, farm: Farm) -> None:
    farm.hold()
    driver = farm.start("submit", farm.folder / "job.yaml")
    farm.wait_until_held(driver)
    server, address = watching(farm)
    with open_page(browser, viewport={"width": 1280, "height": 900}) as watched:
        page = watched.page
        page.goto(address)
        status(page, "running")
        expect(page.locator("#caption")).to_contain_text("in the end 192 × 144")
        page.wait_for_selector("#viewer[data-version]")
        expect(page.locator(".flight")).to_have_count(1)
        page.click("#zoom-in")
        page.click("#content")

        page.keyboard.press("p")
        expect(page.locator("#outcome")).to_have_text("Pausing: the tiles in work are finished first.")
        status(page, "pausing")
        farm.release()
        expect(page.locator("#outcome")).to_contain_text("Paused.")
        status(page, "paused")
        assert driver.poll() is None
        farm.hold()
        page.get_by_role("button", name="Continue").click()
        farm.wait_until_held(driver)
        status(page, "running")

        page.click("#cancel")
        page.click("#sure-yes")
        status(page, "cancelled")
        expect(page.locator("#outcome")).to_contain_text("To go on: tilefarm resume")
        assert driver.wait() == 143
        assert not (farm.folder / "out.png").exists()

        program, *command = shlex.split(page.locator("#resume").inner_text())
        assert program == "tilefarm"
        assert farm.start(*command).wait() == 0
        status(page, "done")
        output = Image.open(farm.folder / "out.png")
        with output:
            assert output.size == (192, 144)
        expect(page.locator("#outcome")).to_contain_text(str(farm.folder / "out.png"))
        expect(page.locator("#caption")).to_have_text("Now 192 × 144 pixels.")
        expect(page.locator("#percent")).to_have_text("100 %")
        page.wait_for_function(
            "async () => (await (await fetch('state.json')).json()).picture.version"
            " === document.querySelector('#viewer').dataset.version"
        )
        expect(page.locator("#pause")).to_have_attribute("aria-disabled", "true")

        server.terminate()
        expect(page.get_by_role("alert").filter(has_text="The page's server has ended")).to_be_visible()
        assert watched.hosts() == {address.split("/")[2]}
        # A picture may be followed by the next one while it is fetched; the last one is there all the same.
        harmless = re.compile("404|failed to load|ERR_CONNECTION")
        assert [said for said in watched.complaints if not harmless.search(said)] == []
