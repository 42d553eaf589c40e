"""The fleet and one of its workers: bars, silence, draining, what is on its disk, and how one joins and leaves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Route, expect

from tests.console.browser import Visitor
from tests.console.conftest import Place, vacate
from tests.console.players import Machine, Model, Player
from tests.fixtures.http_client import Operator, unique
from tests.fixtures.http_workers import GIB, Worker
from tests.fixtures.serve import ADMIN_KEY, REGISTRATION_TOKEN, Serve
from tests.fixtures.waiting import eventually

Played = Callable[..., Player]


def test_gpus_are_bars_by_model_and_foreign_memory_has_its_own(visitor: Visitor, place: Place, played: Played) -> None:
    model = unique("bars")
    player = played(Machine(unique("gpus"), "NVIDIA A100", 4, 80, {"zone": "a"}, {3: 20}), **{model: Model(share=0.5)})
    body = {"model": "org/bars", "name": model, "worker_id": player.worker_id, "gpus": 2}
    made = place.admin.post("/api/deployments", body).expect(201)
    player.names = {made["deployment_id"]: model}
    place.reach(made["deployment_id"], "running")

    page = visitor.enter(ADMIN_KEY)
    row = page.get_by_role("listitem").filter(has=page.get_by_role("link", name=player.name))
    expect(row.get_by_role("img")).to_have_count(4)
    first, last = row.get_by_role("img").first, row.get_by_role("img").last
    expect(first).to_have_accessible_name(re.compile(rf"GPU 0, 40 of 80 GiB, \d+ % busy. {model} 40 GiB"))
    expect(last.locator(".foreign")).to_be_visible()
    assert last.locator(".part").evaluate("(e) => e.style.height") == "25%"
    assert first.locator(".part").evaluate("(e) => e.style.height") == "50%"
    expect(row.get_by_role("img").nth(2)).to_have_accessible_name(re.compile("free"))
    expect(row.get_by_text("zone")).to_be_visible()
    expect(page.locator(".legend")).to_contain_text("Outside Muster")

    page.get_by_label("Filter workers").fill("zone=a")
    expect(page.locator(".worker")).to_have_count(1)
    row.get_by_role("link", name=player.name).click()
    device = page.locator(".device").nth(3)
    expect(device).to_contain_text("outside Muster · 20 GiB")
    expect(page.locator(".device").first).to_contain_text(f"{model} · 40 GiB")
    expect(device).to_contain_text("°C")


def test_a_figure_that_is_unknown_is_said_to_be_unknown(visitor: Visitor, place: Place) -> None:
    worker = Worker(place.url, REGISTRATION_TOKEN, name=unique("unknown"))
    devices = [{"index": 0, "name": "NVIDIA GB10"}, {"index": 1, "memory_total": 80 * GIB}, {"index": 2}]
    worker.register(gpu_info={"count": 3, "devices": devices})
    usage = [{"index": 0, "memory_used": 20 * GIB, "utilization": 0}, {"index": 1, "utilization": 5}, {"index": 2}]
    worker.beat(gpu_usage=usage)
    page = visitor.enter(ADMIN_KEY)
    row = page.get_by_role("listitem").filter(has=page.get_by_role("link", name=worker.name))
    names = row.get_by_role("img")
    expect(names.nth(0)).to_have_accessible_name(re.compile("GPU 0, 20 GiB of unknown, 0 % busy"))
    expect(names.nth(1)).to_have_accessible_name(re.compile("GPU 1, unknown of 80 GiB, 5 % busy"))
    expect(names.nth(2)).to_have_accessible_name(re.compile("GPU 2, memory unknown, utilization unknown"))
    expect(row).to_contain_text("memory unknown")
    expect(row).to_contain_text(re.compile("1 . GB10, 2 . GPU"))
    row.get_by_role("link", name=worker.name).click()
    expect(page.locator(".device").nth(0)).to_contain_text("20 GiB of unknown")
    expect(page.locator(".device").nth(2)).to_contain_text("utilization unknown")
    worker.beat(gpu_usage=[{"index": 0, "memory_used": 20 * GIB}, {"index": 1, "memory_used": 20 * GIB}])
    page.goto(f"{place.url}/#/deploy")
    expect(page.locator("form")).to_contain_text(re.compile(f"Free now: .*1 . GPU on {worker.name}"))


def test_the_last_heartbeat_counts_up_and_silence_is_seen(alone: Visitor, place: Place, played: Played) -> None:
    alone.expected = ["409"]  # it may be asked for its containers before anybody knows
    player = played(Machine(unique("quiet"), "NVIDIA L4", 1, 24))
    alone.page.clock.install()
    page = alone.enter(ADMIN_KEY, f"#/workers/{player.worker_id}")
    expect(page.locator("h1 .status")).to_have_text("online")
    player.leave()
    expect(page.locator("h1 .status")).to_have_text("offline")
    page.goto(place.url)
    row = page.get_by_role("listitem").filter(has=page.get_by_role("link", name=player.name))
    expect(row.get_by_text("offline")).to_be_visible()
    held: list[Route] = []

    def nothing_else_is_under_way() -> bool:
        page.clock.run_for(1000)
        return bool(held) and len(alone.unanswered) == len(held)

    # No poll is answered from here on: each answer sets the page's clock by the control plane's.
    page.route("**/api/*?*", lambda route: held.append(route))
    eventually(nothing_else_is_under_way)
    page.clock.fast_forward("01:00:00")
    expect(row.locator("time")).to_have_text("1 h ago")


def test_a_worker_is_drained_undrained_and_labeled(visitor: Visitor, place: Place, played: Played) -> None:
    player = played(Machine(unique("drained"), "NVIDIA L4", 1, 24))
    page = visitor.enter(place.key("operator"), f"#/workers/{player.worker_id}")
    page.get_by_role("button", name="Drain").click()
    expect(page.locator("h1 .status")).to_have_text("draining")
    assert place.admin.get(f"/api/workers/{player.worker_id}").body["draining"] is True
    page.get_by_role("button", name="Undrain").click()
    expect(page.locator("h1 .status")).to_have_text("online")
    page.get_by_role("button", name="Labels").click()
    page.get_by_role("dialog").get_by_role("textbox").fill("zone = b\ntier=dev=x")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(page.locator("header .label")).to_have_text(["zoneb", "tierdev=x"])


def test_what_is_on_the_disk_and_what_pruning_would_free(visitor: Visitor, place: Place, played: Played) -> None:
    player = played(Machine(unique("full"), "NVIDIA L4", 1, 24))
    page = visitor.enter(ADMIN_KEY, f"#/workers/{player.worker_id}")
    expect(page.get_by_text("vllm/vllm-openai:v0.32.0")).to_be_visible()
    expect(page.get_by_text("Qwen/Qwen3-32B")).to_be_visible()
    expect(page.get_by_text("2.4 TB free of 3.8 TB")).to_be_visible()
    page.get_by_role("button", name="Prune").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("37.4 GB")).to_be_visible()
    expect(dialog.get_by_text("a deployment uses it")).to_be_visible()
    assert [each["dry_run"] for each in player.pruned] == [True]
    dialog.get_by_label("Volumes").check()
    expect(dialog.get_by_role("button", name="Prune")).to_be_enabled()
    dialog.get_by_role("button", name="Prune").click()
    visitor.is_told("37.4 GB are free again")
    assert (player.pruned[-1]["dry_run"], player.pruned[-1]["volumes"]) == (False, True)


def test_a_worker_is_lost_and_removed_by_its_name(visitor: Visitor, place: Place) -> None:
    worker = Worker(place.url, REGISTRATION_TOKEN)
    worker.register()
    worker.beat()
    page = visitor.enter(ADMIN_KEY, f"#/workers/{worker.worker_id}")
    page.get_by_role("button", name="Lost").click()
    page.get_by_role("dialog").get_by_role("button", name="It is lost").click()
    visitor.is_told(f"{worker.name} is lost")
    page.get_by_role("button", name="Remove").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Remove")).to_be_disabled()
    dialog.get_by_role("textbox").fill(worker.name[:-1])
    expect(dialog.get_by_role("button", name="Remove")).to_be_disabled()
    dialog.get_by_role("textbox").fill(worker.name)
    dialog.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("heading", name="Fleet", level=1)).to_be_visible()
    place.admin.get(f"/api/workers/{worker.worker_id}").expect(404, "WORKER_NOT_FOUND")


@pytest.fixture
def empty(vacant: Serve) -> Iterator[Serve]:
    try:
        yield vacant
    finally:
        vacate(vacant)


def test_where_nothing_is_the_page_says_what_to_do(empty: Serve, visit: Callable[..., Visitor]) -> None:
    page = visit(empty.url).enter(ADMIN_KEY)
    expect(page.get_by_role("heading", name="No worker yet")).to_be_visible()
    page.get_by_role("button", name="Add a worker").click()
    line = page.get_by_label("the line that joins a machine", exact=True).inner_text()
    token = line.partition("MUSTER_TOKEN=")[2].split()[0]
    assert line == (f"curl -fsSL '{empty.url}/join.sh' | sudo MUSTER_TOKEN={token} sh -s -- --url '{empty.url}'")
    Worker(empty.url, token, name="first").register()
    expect(page.get_by_role("link", name="first")).to_be_visible()
    page.goto(f"{empty.url}/#/deployments")
    expect(page.get_by_role("heading", name="Nothing is deployed")).to_be_visible()
    page.get_by_role("link", name="Deploy a model").click()
    expect(page.get_by_label("Model", exact=True)).to_be_visible()


def test_tokens_and_keys_are_shown_once_and_revoked(visitor: Visitor, place: Place) -> None:
    page, name = visitor.enter(ADMIN_KEY, "#/access"), unique("rack")
    page.get_by_role("button", name="Add workers").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("For how many machines").fill("3")
    page.get_by_role("button", name="Make the line to run").click()
    token = (
        page.get_by_label("the line that joins a machine", exact=True)
        .inner_text()
        .partition("MUSTER_TOKEN=")[2]
        .split()[0]
    )
    assert Worker(place.url, token).try_register().status == 200
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    row = page.get_by_role("row").filter(has_text=name)
    expect(row).to_contain_text("1 of 3")
    assert token not in page.content()
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_have_count(0)
    assert Worker(place.url, token).try_register().status == 401

    page.get_by_role("button", name="New key").click()
    page.get_by_label("Name", exact=True).fill(f"{name}-key")
    page.get_by_label("operator also deploys").check()
    page.get_by_role("button", name="Make", exact=True).click()
    key = page.get_by_label("the API key", exact=True).inner_text()
    page.get_by_role("button", name="Done").click()
    client = Operator(place.url, key)
    assert client.get("/api/whoami").expect(200) == {"name": f"{name}-key", "role": "operator"}
    row = page.get_by_role("row").filter(has_text=f"{name}-key")
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_have_count(0)
    eventually(lambda: client.get("/api/whoami").status, lambda status: status == 401)
