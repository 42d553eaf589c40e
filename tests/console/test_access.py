"""For everybody: by keyboard alone, on a phone, in dark and light, and by axe-core's rules."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from tests.console import axe
from tests.console.browser import Visitor
from tests.console.conftest import Place
from tests.console.players import Machine, Player
from tests.fixtures.http_client import Json, unique
from tests.fixtures.serve import ADMIN_KEY

PAGES = {
    "": "Fleet",
    "workers/{worker}": "host",
    "deployments": "Deployments",
    "deployments/{running}": "{running}",
    "deployments/{crashed}": "{crashed}",
    "deploy": "Deploy a model",
    "usage": "Usage",
    "access": "Access",
}
"""Where they are, and their headings."""


def at(page: Page, place: Place, which: str) -> None:
    ids = {"running": place.running, "crashed": place.crashed}
    page.goto(f"{place.url}/#/{which.format(worker=place.worker_id, **ids)}")
    names = {name: place.admin.deployment(each)["name"] for name, each in ids.items()}
    heading = PAGES.get(which, "").format(**names)
    expect(page.get_by_role("heading", name=heading, level=1)).to_be_visible()
    for still in ("Loading …", "Asking the worker …"):
        expect(page.get_by_text(still)).to_have_count(0)


def too_wide(page: Page) -> Any:
    """What makes the page wider than its window."""
    return page.evaluate("""() => document.documentElement.scrollWidth <= innerWidth ? [] :
        [...document.querySelectorAll("main *, nav *")]
            .filter((each) => each.getBoundingClientRect().right > innerWidth)
            .map((each) => each.outerHTML.slice(0, 200))""")


def too_small(page: Page) -> Any:
    """The buttons that a finger does not find: lower than 32 pixels, or not quite in a window of 360."""
    return page.evaluate("""() => [...document.querySelectorAll("nav a, .page-head button, .page-head .button")]
        .filter((each) => {
            const { left, right, height } = each.getBoundingClientRect();
            return left < 0 || right > 360 || height < 32;
        }).map((each) => each.outerHTML.slice(0, 200))""")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def tab_to(page: Page, name: str | re.Pattern[str], role: Any = "button") -> None:
    """Tab until it has the focus, which has to be visible."""
    wanted = page.get_by_role(role, name=name)
    for _ in range(60):
        page.keyboard.press("Tab")
        if wanted.first.evaluate("(e) => e === document.activeElement"):
            assert wanted.first.evaluate("(e) => getComputedStyle(e).outlineStyle") == "solid"
            return
    raise AssertionError(f"Tab never came to {name}")


def test_a_keyboard_is_enough_for_everything(alone: Visitor, place: Place) -> None:
    page, name = alone.page, unique("keys")
    page.goto(alone.url)
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.type(ADMIN_KEY)
    press(page, "Enter")
    expect(page.get_by_role("heading", name="Fleet", level=1)).to_be_focused()
    press(page, "n")
    expect(page.get_by_role("heading", name="Deploy a model", level=1)).to_be_focused()
    tab_to(page, "Model", "textbox")
    page.keyboard.type("org/tiny")
    press(page, "Tab")
    page.keyboard.type(name)
    press(page, "Tab", "Control+a")
    page.keyboard.type("0")
    press(page, "Enter")
    expect(page.get_by_role("heading", name=name, level=1)).to_be_focused()
    expect(page.locator("h1 .status")).to_have_text("running")

    tab_to(page, "Stop")
    press(page, "Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    for _ in range(8):
        press(page, "Tab")
        inside = "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
        assert page.evaluate(inside), "the focus stays in the dialog"
    press(page, "Escape")
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_focused()
    press(page, "Enter")
    tab_to(page, "Cancel")
    press(page, "Tab", "Enter")
    expect(page.locator("h1 .status")).to_have_text("stopped")

    press(page, "g", "d")
    expect(page.get_by_role("heading", name="Deployments", level=1)).to_be_focused()
    press(page, "/")
    page.keyboard.type(name)
    expect(page.locator(".deployment")).to_have_count(1)
    page.get_by_label("Filter deployments").evaluate("(e) => e.blur()")
    press(page, "j", "Enter")
    expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()
    press(page, "g", "f")
    expect(page.get_by_role("heading", name="Fleet", level=1)).to_be_focused()
    press(page, "?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    press(page, "Escape")
    expect(dialog).to_have_count(0)
    press(page, "g", "u")
    expect(page.get_by_role("heading", name="Usage", level=1)).to_be_focused()
    tab_to(page, "Period", "combobox")
    press(page, "End")
    expect(page.get_by_role("heading", name="No usage in the last 30 days")).to_be_visible()
    page.get_by_label("Period").evaluate("(e) => e.blur()")
    press(page, "t")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    press(page, "g", "a")
    expect(page.get_by_role("heading", name="Access", level=1)).to_be_focused()


class Wordy(Player):
    """Whatever it says of itself is long and has nowhere to break."""

    def heartbeat(self, *active: str, **more: Json) -> Json:
        body = super().heartbeat(*active, **more)
        bytes_ = {"total": 10**13, "used": 9 * 10**12, "free": 10**12}
        body["disk"]["paths"] = [{"path": "/" + "mount" * 30, "purpose": "images" * 10, **bytes_}]
        image = {"id": "sha256:" + "a" * 64, "tags": ["image" * 40 + ":v1"], "size": 10**10, "created": "c" * 60}
        return body | {"images": [image]}

    def _output(self, command: Json) -> Json:
        if command["type"] == "list_models":
            return {"models": [{"model": "org/" + "model" * 20, "size": 10**12}]}
        return super()._output(command)


def test_on_a_phone_nothing_is_cut_off(
    visit: Callable[..., Visitor], place: Place, played: Callable[..., Player]
) -> None:
    label = {"a-long-label": "with-a-value" * 5}
    wordy = played(Machine("w" * 100 + unique("x"), "NVIDIA" * 20, 8, 80, label, foreign={0: 40}), Wordy)
    deployed = place.admin.deploy(wordy.worker_id, name="n" * 63, gpus=2, model="m" * 90 + "/" + "m" * 90)
    place.reach(deployed["deployment_id"], "running")
    visitor = visit(viewport={"width": 360, "height": 740}, has_touch=True)
    page = visitor.enter(ADMIN_KEY)
    for which in [*PAGES, f"workers/{wordy.worker_id}", f"deployments/{deployed['deployment_id']}"]:
        at(page, place, which)
        if which == "deploy":
            expect(page.get_by_text(wordy.name)).to_be_visible()
        assert too_wide(page) == [], which
        assert too_small(page) == [], which
    at(page, place, "access")
    page.get_by_role("button", name="Add workers").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert too_wide(page) == []
    page.get_by_role("button", name="Make the line to run").click()
    expect(page.get_by_label("the line that joins a machine", exact=True)).to_be_visible()
    assert page.evaluate("document.querySelector('dialog').scrollWidth <= document.querySelector('dialog').clientWidth")


def test_dark_and_light_follow_the_system_until_somebody_says_otherwise(visit: Callable[..., Visitor]) -> None:
    grounds = {}
    for scheme in ("dark", "light"):
        visitor = visit(color_scheme=scheme)
        page = visitor.enter(ADMIN_KEY)
        ground = "getComputedStyle(document.documentElement).backgroundColor"
        grounds[scheme] = page.evaluate(ground)
        page.emulate_media(color_scheme="light" if scheme == "dark" else "dark")
        expect(page.get_by_role("button", name="Dark" if scheme == "dark" else "Light")).to_be_visible()
        assert page.evaluate(ground) != grounds[scheme]
        page.emulate_media(color_scheme=scheme)
        page.get_by_role("button", name="Light" if scheme == "dark" else "Dark").click()
        chosen = page.evaluate(ground)
        assert chosen != grounds[scheme]
        page.reload()
        expect(page.get_by_role("heading", name="Fleet", level=1)).to_be_visible()
        assert page.evaluate(ground) == chosen
    assert grounds["dark"] != grounds["light"]


def test_nothing_moves_for_those_who_ask_for_that(visit: Callable[..., Visitor], place: Place) -> None:
    page = visit(reduced_motion="reduce").enter(ADMIN_KEY)
    for which in PAGES:
        at(page, place, which)
        assert page.evaluate("document.getAnimations().filter((each) => each.playState === 'running').length") == 0, (
            which
        )


def test_axe_finds_nothing_on_any_page_in_either_scheme(alone: Visitor, place: Place) -> None:
    page = alone.page
    page.goto(place.url)
    page.get_by_label("API key").wait_for()
    finds_nothing(page, "sign in")
    alone.enter(ADMIN_KEY)
    for which in PAGES:
        at(page, place, which)
        finds_nothing(page, which)
    page.get_by_role("button", name="Add workers").click()
    expect(page.get_by_role("dialog", name="Add workers")).to_be_visible()
    finds_nothing(page, "Add workers")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    finds_nothing(page, "Keys")


def finds_nothing(page: Page, which: str) -> None:
    """In the light scheme by all rules, in the dark one by those that depend on colors."""
    page.emulate_media(color_scheme="light")
    expect(page.locator("html")).to_have_css("color-scheme", "light")
    assert axe.violations(page) == [], which
    page.emulate_media(color_scheme="dark")
    expect(page.locator("html")).to_have_css("color-scheme", "dark")
    assert axe.violations(page, axe.COLORS) == [], which
