"""Debian's Chromium, driven by playwright, and what must hold on every page that is opened with it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.fixtures.waiting import PATIENCE, eventually

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
ARGUMENTS = """
--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync
--disable-site-isolation-trials --process-per-site
""".split()
LONG = PATIENCE * 1000
"""Milliseconds that playwright waits for anything."""
expect.set_options(timeout=LONG)
logging.getLogger("asyncio").propagate = False
"""Playwright leaves tasks pending when a page closes. Python logs each when it collects it, amid any other test."""
WATCH = """
window.violations = [];
addEventListener("securitypolicyviolation", (e) => violations.push(`${e.violatedDirective} ${e.blockedURI}`));
window.told = new Set();
new MutationObserver(() => {
    for (const note of document.querySelectorAll(".note"))
        if (note.checkVisibility()) told.add(`${note.closest("[role]").role}: ${note.innerText}`);
}).observe(document, { childList: true, subtree: true });
"""
"""`told` keeps the notes that the page shows for a few seconds only."""


def need_chromium() -> None:
    """Where there is none the test is skipped, or fails if it is required."""
    if not CHROMIUM.exists():
        why = f"there is no {CHROMIUM} (Debian's package chromium)"
        if os.environ.get("MUSTER_REQUIRE_CHROMIUM") == "1":
            pytest.fail(f"MUSTER_REQUIRE_CHROMIUM=1, but {why}", pytrace=False)
        pytest.skip(why)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS, timeout=LONG)
        try:
            yield browser
        finally:
            browser.close()


def context(browser: Browser, **options: Any) -> BrowserContext:
    made = browser.new_context(**{"reduced_motion": "reduce", **options})
    made.set_default_timeout(LONG)
    made.add_init_script(WATCH)
    return made


class Visitor:
    """Somebody with a browser. `check` holds what they met against what is promised of every page.

    Their browser context is their own, unless they are given a `shared` one, which keeps the console's files: loading
    these takes most of the processor time of a visit. Whoever changes the clock or the storage needs their own.
    """

    def __init__(self, browser: Browser, url: str, shared: BrowserContext | None = None, **options: Any) -> None:
        self.url = url
        self._shared = shared is not None
        self.context = shared or context(browser, **options)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.expected: list[str] = []
        self.asked: list[str] = []
        self.unanswered: set[Request] = set()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._asked)
        self.page.on("requestfinished", self._ended)
        self.page.on("requestfailed", self._ended)

    def _asked(self, request: Request) -> None:
        self.asked.append(request.url)
        self.unanswered.add(request)
        if not request.url.startswith(self.url):
            self.elsewhere.append(request.url)

    def _ended(self, request: Request) -> None:
        self.unanswered.discard(request)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} {message.location['url']}")

    def enter(self, key: str, fragment: str = "") -> Page:
        """Sign in, at that place."""
        self.page.goto(f"{self.url}/{fragment}")
        self.page.get_by_label("API key").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("navigation", name="Pages").wait_for()
        return self.page

    def is_told(self, text: str, role: str = "status") -> None:
        """Wait for a note with that text; it may be gone again."""
        self.page.wait_for_function(
            "([role, text]) => [...told].some((note) => note.startsWith(`${role}: `) && note.includes(text))",
            arg=[role, text],
        )

    def asked_while(self, milliseconds: int) -> list[str]:
        """The URLs that the page requests while its clock, which `page.clock.install` made, advances by so much."""
        self._answered()
        before = len(self.asked)
        self.page.clock.run_for(milliseconds)
        self._answered()
        return [url for url in self.asked[before:] if not url.endswith("/api/health")]

    def _answered(self) -> None:
        """Make one request of the page and wait for its answer: the events of all earlier requests came before it."""
        self.page.evaluate("(url) => fetch(url).then((answer) => answer.text())", f"{self.url}/api/health")

    def falls_silent(self, milliseconds: int) -> None:
        """Wait until no request is unanswered and the page's clock can advance by so much without another one."""
        eventually(lambda: self.asked_while(milliseconds) == [] and not self.unanswered, what="silence")

    def check(self) -> None:
        complaints = [each for each in self.complaints if not any(text in each for text in self.expected)]
        found = [*complaints, *self.elsewhere, *self.page.evaluate("violations")]
        assert not found, found

    def close(self) -> None:
        """Check it, and end it. A route whose handler still waits for its answer is not an error of the test."""
        if self.page.is_closed():
            return
        try:
            self.page.unroute_all(behavior="ignoreErrors")
            self.check()
        finally:
            if self._shared:
                self.page.close()
            else:
                self.context.close()
