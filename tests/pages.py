"""What tests of pages in a browser look at: colours on the screen, contrast, names."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from PIL import Image
from playwright.sync_api import Page

from tests.chromium import WAIT

Colour = tuple[int, int, int]
NEAR = 14
"""What JPEG, and the stand-in worker's tone, may change a colour by."""


CONTRASTS = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (colour) => colour.slice(0, 3)
    .map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const wrong = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.matches("script, style, .label")) continue;
    const style = getComputedStyle(e);
    const ink = parse(e instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) wrong.push([e.tagName, e.className, e.textContent.slice(0, 20), ratio]);
  }
  return wrong;
}"""
"""Elements with text of their own whose contrast, by WCAG's formula, is below 4.5."""
UNNAMED = """() => [...document.querySelectorAll(
  "button, select, input, [role=slider], [role=region], [role=application], svg[role=img]")]
  .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() || (e.labels && e.labels.length)))
  .map((e) => e.outerHTML)"""


def shown(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("html[data-ready=yes]")


def seen(page: Page, element: str, across: float, down: float = 0.25) -> Colour:
    """The colour of an element at this place, in shares of it, as it is on the screen."""
    with Image.open(io.BytesIO(page.locator(element).screenshot())) as image:
        place = (int(across * (image.width - 1)), int(down * (image.height - 1)))
        found: Any = image.convert("RGB").getpixel(place)
        return (found[0], found[1], found[2])


def is_near(colour: Colour, wanted: Colour) -> bool:
    return max(abs(a - b) for a, b in zip(colour, wanted, strict=True)) <= NEAR


def until(page: Page, found: Callable[[], Any], fits: Callable[[Any], bool]) -> Any:
    """Look again until what is found fits; the page goes on meanwhile."""
    for _ in range(WAIT // 50):
        if fits(value := found()):
            return value
        page.wait_for_timeout(50)
    raise AssertionError(f"still {found()}")


def until_near(page: Page, element: str, across: float, wanted: Colour, down: float = 0.25) -> None:
    until(page, lambda: seen(page, element, across, down), lambda colour: is_near(colour, wanted))
