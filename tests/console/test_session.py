"""Who gets in, how they leave, and what each role finds."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.console.browser import Visitor
from tests.console.conftest import Place
from tests.fixtures.http_client import unique
from tests.fixtures.serve import ADMIN_KEY


def test_a_wrong_key_is_refused_and_a_good_one_opens(visitor: Visitor) -> None:
    visitor.expected = ["401"]  # the browser's own line for such an answer
    page = visitor.page
    page.goto(visitor.url)
    for wrong, says in {
        "mst_key_wrong": "not known here",
        "not a key": "is one word",
        "schlüssel": "is one word",
    }.items():
        page.get_by_label("API key").fill(wrong)
        page.get_by_label("API key").press("Enter")
        expect(page.get_by_role("alert").filter(has_text=says)).to_be_visible()
        expect(page.get_by_role("button", name="Sign in")).to_be_enabled()
    page.get_by_label("API key").fill(f"  {ADMIN_KEY} ")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Fleet", level=1)).to_be_focused()


def test_the_key_is_in_the_tab_alone_and_signing_out_ends_it(alone: Visitor) -> None:
    page = alone.enter(ADMIN_KEY)
    assert page.evaluate("Object.values(sessionStorage)") == [ADMIN_KEY]
    page.reload()
    expect(page.get_by_role("heading", name="Fleet", level=1)).to_be_visible()
    stored = page.evaluate(
        "[location.href, document.cookie, JSON.stringify(localStorage), JSON.stringify(history.state)]"
    )
    assert not any(ADMIN_KEY in str(each) for each in stored)
    other = alone.context.new_page()
    other.goto(alone.url)
    expect(other.get_by_role("button", name="Sign in")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_a_key_that_is_revoked_leads_to_the_door_and_the_next_one_back(visitor: Visitor, place: Place) -> None:
    visitor.expected = ["401"]
    made = place.admin.post("/api/api-keys", {"name": unique("short"), "role": "operator"}).expect(201)
    page = visitor.enter(made["key"], f"#/workers/{place.worker_id}")
    expect(page.get_by_role("heading", name="host", level=1)).to_be_visible()
    place.admin.delete(f"/api/api-keys/{made['key_id']}").expect(200)
    expect(page.get_by_text("This key is not accepted any more")).to_be_visible()
    page.get_by_label("API key").fill(place.key("viewer"))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="host", level=1)).to_be_visible()
    assert page.url.endswith(f"#/workers/{place.worker_id}")


def test_what_one_was_asked_is_not_asked_of_the_next(visitor: Visitor, place: Place) -> None:
    visitor.expected = ["401"]
    made = place.admin.post("/api/api-keys", {"name": unique("asked"), "role": "operator"}).expect(201)
    page = visitor.enter(made["key"], f"#/workers/{place.worker_id}")
    page.get_by_role("button", name="Lost").click()
    expect(page.get_by_role("dialog", name="Is host lost?")).to_be_visible()
    place.admin.delete(f"/api/api-keys/{made['key_id']}").expect(200)
    expect(page.get_by_text("This key is not accepted any more")).to_be_visible()
    page.get_by_label("API key").fill(place.key("operator"))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="host", level=1)).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_each_role_is_shown_what_it_may_do(visit: Callable[..., Visitor], place: Place) -> None:
    place.reach(place.running, "running")
    buttons = {"viewer": "", "operator": "Drain Labels Lost", "admin": "Drain Labels Lost Remove"}
    for role, there in buttons.items():
        page = visit().enter(place.key(role), f"#/workers/{place.worker_id}")
        expect(page.get_by_role("heading", name="host", level=1)).to_be_visible()
        expect(page.locator(".page-head .actions button")).to_have_text(there.split())
        page.goto(f"{place.url}/#/deployments/{place.running}")
        expect(page.get_by_role("heading", name="Endpoint")).to_be_visible()
        expect(page.get_by_role("button", name="Stop")).to_have_count(int(role != "viewer"))
        expect(page.get_by_text("API key")).to_have_count(int(role != "viewer"))
        page.goto(f"{place.url}/#/access")
        expect(page.get_by_role("heading", name="Access", level=1)).to_be_visible()
        expect(page.get_by_role("heading", name="API keys")).to_have_count(int(role == "admin"))
        expect(page.get_by_role("heading", name="Registration tokens")).to_have_count(int(role != "viewer"))
        page.keyboard.press("n")
        if role != "viewer":
            expect(page.get_by_role("heading", name="Deploy a model", level=1)).to_be_visible()
        else:  # keys are served in their order: once the later one has shown, the earlier one has done nothing
            page.keyboard.press("?")
            expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
            assert page.url.endswith("#/access")
