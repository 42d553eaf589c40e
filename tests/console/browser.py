"""Debian's Chromium, driven by playwright, and what must hold on every page that is opened with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
ARGUMENTS = """
--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync
""".split()
WATCH = """
window.violations = [];
addEventListener("securitypolicyviolation", (e) => violations.push(`${e.violatedDirective} ${e.blockedURI}`));
"""


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
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


class Visitor:
    """Somebody with a browser. `check` holds what they met against what is promised of every page."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.context: BrowserContext = browser.new_context(**{"reduced_motion": "reduce", **options})
        self.context.add_init_script(WATCH)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(15000)
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.expected: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._asked)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(self.url):
            self.elsewhere.append(request.url)

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

    def check(self) -> None:
        complaints = [each for each in self.complaints if not any(text in each for text in self.expected)]
        found = [*complaints, *self.elsewhere, *self.page.evaluate("violations")]
        assert not found, found
