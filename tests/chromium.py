"""Debian's Chromium for tests of pages, and a page that reports everything that it should not do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

WAIT = 20_000
"""Milliseconds until a condition is given up: far more than any takes, as the machine may be busy."""


@contextmanager
def chromium(*more: str) -> Iterator[Browser]:
    """A headless Chromium, with `more` arguments; skips the test where none is installed.

    While it is open, asyncio takes this thread for one with a running loop (Playwright's), so that it is to
    be closed before tests of other modules run: for fixtures with the scope of a module.
    """
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium on this machine")
    # As root Chromium refuses to start with its sandbox.
    expect.set_options(timeout=WAIT)
    arguments = [*more, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page, what it asked for, and what it complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def hosts(self) -> set[str]:
        """Where requests went, by host and port; none for what the page made itself."""
        return {
            urlsplit(address).netloc
            for address in self.requests
            if not address.startswith(("data:", "blob:"))
        }


@contextmanager
def open_page(browser: Browser, **options: Any) -> Iterator[Watched]:
    """A page in a context of its own, with these options of it (viewport, color_scheme ...)."""
    context = browser.new_context(**options)
    context.set_default_timeout(WAIT)
    page = context.new_page()
    watched = Watched(page)

    def asked(request: Request) -> None:
        watched.requests.append(request.url)

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            watched.complaints.append(message.text)

    page.on("request", asked)
    page.on("console", said)
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    page.add_init_script(
        "document.addEventListener('securitypolicyviolation',"
        " (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`))"
    )
    try:
        yield watched
    finally:
        context.close()
