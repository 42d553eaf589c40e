"""How often a page asks while nobody touches it, and what it asks for: what a tab costs is counted from that."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Request, expect

from chalicelib.routes import console
from tests.console.browser import Visitor
from tests.console.conftest import Place
from tests.cost import month
from tests.fixtures.serve import ADMIN_KEY


def looks(visitor: Visitor, seconds: int, step: int) -> int:
    """How often the page asks for the fleet in so many seconds of its clock.

    The clock stands still between steps, and an answer comes after one: it seems to take as long, and twice that is
    the shortest pause after it.
    """
    return sum("/api/fleet" in url for _ in range(seconds // step) for url in visitor.asked_while(step * 1000))


def test_a_page_that_nobody_touches_looks_twice_a_minute_and_at_once_when_somebody_is_back(
    alone: Visitor, place: Place
) -> None:
    sent: list[Request] = []
    alone.page.on("request", lambda request: sent.append(request) if "/api/fleet" in request.url else None)
    alone.page.clock.install()
    page = alone.enter(ADMIN_KEY)
    expect(page.locator(".worker").first).to_be_visible()
    assert looks(alone, 30, step=1) >= 4, "while somebody may be looking"
    looks(alone, 390, step=10)
    idle = looks(alone, 600, step=10)
    assert 12 <= idle <= 600 / month.LOOK_SECONDS
    page.mouse.move(5, 5)
    page.mouse.move(9, 9)
    assert looks(alone, 20, step=1) >= 3
    queries = [parse_qs(urlsplit(request.url).query) for request in sent]
    assert "since" not in queries[0] and all("since" in query for query in queries[1:])
    assert not any("fresh" in query for query in queries), "nobody did anything"


def test_the_pace_is_the_one_that_is_on_the_bill() -> None:
    (idle,) = re.findall(r"^const IDLE = (\d+);", console.site().files["poll.js"], re.M)
    assert float(idle) == month.LOOK_SECONDS


def test_what_did_not_change_is_not_sent_again(alone: Visitor, place: Place) -> None:
    statuses: list[int] = []
    alone.page.on(
        "response", lambda answer: statuses.append(answer.status) if "/api/registration-tokens" in answer.url else None
    )
    alone.page.clock.install()
    page = alone.enter(ADMIN_KEY, "#/access")
    expect(page.get_by_role("heading", name="Access", level=1)).to_be_visible()
    for _ in range(4):
        alone.asked_while(10_000)
    assert statuses[0] == 200 and set(statuses[1:]) == {304}
    expect(page.get_by_text("does not answer")).to_have_count(0)


def test_the_usage_of_a_period_is_asked_for_once_a_minute(alone: Visitor, place: Place) -> None:
    sent: list[Request] = []
    alone.page.on("request", lambda request: sent.append(request) if "/api/usage" in request.url else None)
    alone.page.clock.install()
    page = alone.enter(ADMIN_KEY, "#/usage")
    expect(page.get_by_role("heading", name="No usage in the last 7 days")).to_be_visible()
    queries = [parse_qs(urlsplit(request.url).query) for request in sent]
    assert sorted(query["by"][0] for query in queries) == ["day", "key"]
    assert all("until" not in query and len(query["since"]) == 1 for query in queries)
    asked = sum("/api/usage" in url for _ in range(60) for url in alone.asked_while(10_000))
    assert 10 <= asked <= 20, "two questions a minute, in ten minutes; an answer seems to take as long as a step"
