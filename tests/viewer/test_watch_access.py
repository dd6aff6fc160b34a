"""The watch page for everybody: by keyboard, on a phone, in the dark, read out. Checked in real Chromium."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chromium import Watched, open_page
from tests.scripted_watch import ScriptedWatch

INTERACTIVE = {
    "button",
    "link",
    "slider",
    "checkbox",
    "textbox",
    "application",
    "DisclosureTriangle",
    "dialog",
}

TEXTS = """
() => {
  const grounds = (node) => {
    const found = [];
    for (let at = node; at; at = at.parentElement) found.push(getComputedStyle(at).backgroundColor);
    return found;
  };
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !node.checkVisibility()) continue;
    if (node.closest(".unseen, script, noscript, .overlay, .skip")) continue;
    const style = getComputedStyle(node);
    const drawn = node instanceof SVGElement ? style.fill : style.color;
    texts.push({ text: text.slice(0, 40), colour: drawn, grounds: grounds(node) });
  }
  return texts;
}
"""
"""Every text that can be seen, its colour, and the grounds behind it from the inside out."""

NARROW = {"width": 360, "height": 740}


def rgba(colour: str) -> tuple[float, float, float, float]:
    values = [
        float(part) for part in colour[colour.index("(") + 1 : -1].replace("/", " ").replace(",", " ").split()
    ]
    return (values[0], values[1], values[2], values[3] if len(values) == 4 else 1.0)


def luminance(colour: tuple[float, ...]) -> float:
    """Relative luminance of 8-bit sRGB, by WCAG 2.1."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour[:3])
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(text: dict[str, Any]) -> float:
    ground = next(rgba(ground) for ground in text["grounds"] if rgba(ground)[3] == 1)
    light, dark = sorted((luminance(rgba(text["colour"])), luminance(ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_computed_as_wcag_does() -> None:
    grey = {"colour": "rgb(119, 119, 119)", "grounds": ["rgba(0, 0, 0, 0)", "rgb(255, 255, 255)"]}
    assert contrast(grey) == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Browser, watch: ScriptedWatch, scheme: str) -> None:
    with open_page(browser, color_scheme=scheme) as watched:
        page = watched.page
        page.goto(watch.address)
        page.wait_for_selector("[data-version=v1]")
        page.click("#keys-title")
        page.click("#losses-table summary")
        page.evaluate(
            "() => document.querySelectorAll('.banner').forEach((banner) => { banner.hidden = false; })"
        )
        page.evaluate("() => { document.querySelector('#empty').hidden = false; }")
        grounds = set()
        for status in ("running", "failed", "done", "paused"):
            watch.publish(
                status=status, message="A message.", can={**watch.state["can"], "cancel": status != "failed"}
            )
            expect(page.locator("#status")).to_have_text(status)
            page.evaluate(
                "() => Promise.all(document.getAnimations().map((animation) => animation.finished))"
            )
            texts = page.evaluate(TEXTS)
            assert len(texts) > 100
            faint = {text["text"]: round(contrast(text), 2) for text in texts if contrast(text) < 4.5}
            assert faint == {}
            grounds |= {next(g for g in text["grounds"] if rgba(g)[3] == 1) for text in texts}
        page.click("#cancel")
        question = [
            text for text in page.evaluate(TEXTS) if text["text"] in ("Keep painting", "Cancel the run")
        ]
        assert len(question) == 2
        assert min(map(contrast, question)) >= 4.5
    lightest = max(luminance(rgba(ground)) for ground in grounds)
    assert (lightest > 0.9) == (scheme == "light"), "the schemes differ"


def test_every_control_has_a_name_and_a_role(watched: Watched) -> None:
    session = watched.page.context.new_cdp_session(watched.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    controls = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and node["role"]["value"] in INTERACTIVE
    ]
    assert {"button", "slider", "application", "link"} <= {role for role, _ in controls}
    assert [role for role, name in controls if not name.strip()] == []
    names = [name for role, name in controls if role == "button"]
    assert len(names) == len(set(names)), "two buttons of one name cannot be told apart"
    page = watched.page
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == 1
    identities = page.evaluate("() => [...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(identities) == len(set(identities))
    references = page.evaluate(
        """() => [...document.querySelectorAll("[aria-labelledby]")]
            .map((node) => node.getAttribute("aria-labelledby"))"""
    )
    assert set(references) <= set(identities)


def stops(page: Page) -> list[str]:
    """Where Tab stops on its way through the page; each stop shows that it has the focus."""
    found: list[str] = []
    page.evaluate("() => document.activeElement.blur()")
    for _ in range(60):
        page.keyboard.press("Tab")
        here = page.evaluate(
            """() => {
                const node = document.activeElement;
                if (node === document.body) return null;
                const style = getComputedStyle(node);
                const shown = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
                return [node.id || node.className || node.tagName, shown, node.checkVisibility()];
            }"""
        )
        if here is None or here[0] in found[:1]:
            return found
        assert here[1], f"{here[0]} does not show that it has the focus"
        assert here[2]
        found.append(here[0])
    raise AssertionError(f"the focus does not come round: {found}")


def test_tab_goes_through_all_controls_in_the_order_of_the_page(watched: Watched) -> None:
    found = stops(watched.page)
    assert found == [
        *("skip", "pause", "cancel", "openseadragon-canvas"),
        *("zoom-out", "zoom-in", "fit", "pixels", "tiles", "content", "content-share"),
        *("chart", "SUMMARY", "resume", "copy", "SUMMARY"),
    ]


def test_the_skip_link_leads_past_the_controls(watched: Watched) -> None:
    page = watched.page
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#progress")).to_be_focused()


def test_a_phone_shows_the_picture_first_and_nothing_beside_the_screen(
    browser: Browser, watch: ScriptedWatch
) -> None:
    long = "/a/very-long-folder-name-without-any-spaces-in-it" * 4
    watch.state.update(root=long, output=long, resume=f"tilefarm resume {long}", name="x" * 70)
    watch.state["levels"][2].update(
        width=60_000, height=45_000, tiles=12_400, loss_first=1234.5, loss_last=0.001
    )
    with open_page(browser, viewport=NARROW, has_touch=True, is_mobile=True) as watched:
        page = watched.page
        page.goto(watch.address)
        page.wait_for_selector("[data-version=v1]")
        page.locator("#keys-title").click()
        page.locator("#losses-table summary").click()
        assert page.evaluate("() => document.documentElement.scrollWidth") == 360
        wide = page.evaluate(
            """() => [...document.querySelectorAll("main *, header *")]
                .filter((node) => !node.closest(".viewer, .scroll, svg"))
                .filter((node) => node.getBoundingClientRect().right > 360)
                .map((node) => node.outerHTML.slice(0, 80))"""
        )
        assert wide == []
        tops = [
            page.locator(selector).bounding_box()["y"]  # type: ignore[index]
            for selector in ("#stage", "#progress", "#curves", "#levels", "#workers")
        ]
        assert tops == sorted(tops)
        assert tops[0] < NARROW["height"] / 2
        small = page.evaluate(
            """() => [...document.querySelectorAll("button, input")].filter((node) => node.checkVisibility())
                .map((node) => (node.closest("label") ?? node).getBoundingClientRect())
                .filter((box) => box.width < 24 || box.height < 20).length"""
        )
        assert small == 0


def test_who_wants_no_motion_gets_none(browser: Browser, watch: ScriptedWatch) -> None:
    with open_page(browser, reduced_motion="reduce") as watched:
        page = watched.page
        page.goto(watch.address)
        page.wait_for_selector("[data-version=v1]")
        moving = page.evaluate(
            """() => [...document.querySelectorAll("*")]
                .filter((node) => getComputedStyle(node).transitionDuration !== "0s").length"""
        )
        assert moving == 0
        page.click("#pixels")
        expect(page.locator("#zoom")).to_have_text("100 %")
        page.click("#zoom-in")
        widths = page.evaluate(
            """() => new Promise((resolve) => {
                const seen = new Set();
                const look = (left) => {
                    seen.add(document.querySelector("#zoom").textContent);
                    left ? requestAnimationFrame(() => look(left - 1)) : resolve([...seen]);
                };
                look(12);
            })"""
        )
        assert set(widths) <= {"100 %", "150 %"}
        assert widths[-1] == "150 %"
