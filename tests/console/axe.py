"""Deque's axe-core from npm, which knows most of what WCAG asks of a page; fetched once and held by its digest."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from infra.vendor import File, Package, published
from tests.fixtures.network import NETWORKS

SCRIPT = File("axe.js", "axe.min.js", "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c")
AXE = Package("axe-core", "4.14.1", "MPL-2.0", [SCRIPT])
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "muster" / f"axe-{AXE.version}.js"
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLORS = ["color-contrast", "link-in-text-block"]
"""The rules of those standards that depend on colors."""


def source() -> str:
    if not CACHE.exists():
        if shutil.which("npm") is None:
            why = "npm is not installed, and axe-core comes from there"
            if os.environ.get("MUSTER_REQUIRE_CHROMIUM") == "1":
                pytest.fail(why, pytrace=False)
            pytest.skip(why)
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        fresh = CACHE.with_suffix(f".{os.getpid()}")
        with NETWORKS.outside():
            fresh.write_bytes(published(AXE)[SCRIPT.path])
        fresh.rename(CACHE)
    content = CACHE.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    assert found == SCRIPT.sha256, f"{CACHE} is not what was published: {found}"
    return content.decode()


def violations(page: Page, rules: list[str] | None = None) -> list[str]:
    """Each rule that the page breaks, with where; of all the standards' rules unless `rules` names some."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(source())
    options = {"runOnly": {"type": "rule", "values": rules} if rules else STANDARDS, "resultTypes": ["violations"]}
    found: Any = page.evaluate("(options) => axe.run(document, options)", options)
    return [
        f"{each['id']}: {node['target']} {node['failureSummary'].splitlines()[-1].strip()}"
        for each in found["violations"]
        for node in each["nodes"]
    ]
