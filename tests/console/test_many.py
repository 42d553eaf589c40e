"""A fleet of many workers: all of it is there, a refresh sends what changed, and keeps what it can."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Response, expect

from tests.console.browser import Visitor
from tests.console.conftest import vacate
from tests.console.crowd import crowd
from tests.console.players import Player
from tests.fixtures.http_client import Operator
from tests.fixtures.serve import ADMIN_KEY, Serve

COUNT = 15


@pytest.fixture(scope="module")
def many(vacant: Serve) -> Iterator[tuple[Serve, list[Player]]]:
    try:
        yield vacant, crowd(vacant.url, Operator(vacant.url, ADMIN_KEY), COUNT)
    finally:
        vacate(vacant)


def test_only_what_changed_is_sent_and_rows_are_kept(
    visit: Callable[..., Visitor], many: tuple[Serve, list[Player]]
) -> None:
    serve, players = many
    visitor = visit(serve.url, viewport={"width": 1280, "height": 480})
    answers: list[Response] = []
    visitor.page.on("response", lambda answer: answers.append(answer) if "/api/fleet" in answer.url else None)
    page = visitor.enter(ADMIN_KEY)
    rows = page.locator(".worker")
    expect(rows).to_have_count(COUNT)
    names = page.locator(".worker h2 a").all_text_contents()
    assert names == sorted(player.name for player in players)
    page.evaluate("window.kept = [...document.querySelectorAll('.worker .meter .load span')]")
    assert page.evaluate("innerHeight") < page.evaluate("document.documentElement.scrollHeight") / 2
    before = page.evaluate("kept.map((each) => each.style.height)")
    look_again = "document.dispatchEvent(new Event('visibilitychange'))"
    for player in players[:4]:
        player.turn()
    page.evaluate(look_again)
    page.wait_for_function("(b) => kept.some((each, at) => each.style.height !== b[at])", arg=before)
    assert answers[0].json()["full"] and "since=" not in answers[0].url
    changed = [answer.json() for answer in answers[1:] if answer.status == 200]
    told = {worker["name"] for body in changed for worker in body["workers"]}
    assert told <= {player.name for player in players[:4]} and told and not any(body["full"] for body in changed)
    same = "[...document.querySelectorAll('.worker .meter .load span')].every((each, at) => each === kept[at])"
    assert page.evaluate(same), "the same elements, with other figures"
    assert rows.nth(12).evaluate("(e) => getComputedStyle(e).contentVisibility") == "auto"
    rows.last.scroll_into_view_if_needed()
    players[-1].turn()
    page.evaluate(look_again)
    usage = Operator(serve.url, ADMIN_KEY).get(f"/api/workers/{players[-1].worker_id}").body["gpu_usage"][7]
    busy = re.compile(rf" {usage['utilization']:.0f} % busy")
    expect(rows.last.get_by_role("img").last).to_have_accessible_name(busy)
    page.get_by_label("Filter workers").fill("rack-013")
    expect(rows).to_have_count(1)


@pytest.mark.parametrize(
    ("name", "id_", "fragment"), [("workers", "worker_id", "#/"), ("deployments", "deployment_id", "#/deployments")]
)
def test_a_list_says_that_it_shows_no_more_than_the_first_2000_entries(
    visit: Callable[..., Visitor], many: tuple[Serve, list[Player]], name: str, id_: str, fragment: str
) -> None:
    serve, _ = many
    found = Operator(serve.url, ADMIN_KEY).get("/api/fleet").expect(200)
    one = found[name][0]
    if name == "workers":  # without the GPUs, of which each is drawn
        one |= {"gpu_info": {"count": 0, "devices": []}, "gpu_usage": [], "gpu_claims": {}}
    entries = [one | {id_: f"{one[id_]}-{number}"} for number in range(2001)]
    body = json.dumps(found | {name: entries})
    visitor = visit(serve.url)
    visitor.page.route("**/api/fleet*", lambda route: route.fulfill(body=body, content_type="application/json"))
    page = visitor.enter(ADMIN_KEY, fragment)
    expect(page.get_by_text(f"The first 2,000 {name} are shown.")).to_be_visible()
    expect(page.locator("[data-row]")).to_have_count(2000)
