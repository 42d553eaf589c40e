"""Names, messages, logs and everything else that somebody may write: shown as the text that it is, and never run."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.console.browser import Visitor
from tests.console.conftest import Place
from tests.console.players import Machine, Player
from tests.fixtures.http_client import Json, unique
from tests.fixtures.serve import ADMIN_KEY

EVIL = (
    "<img src=x onerror=\"window.ran=1\"><svg onload='window.ran=1'>"
    '"><script>window.ran=1</script></pre></textarea>javascript:window.ran=1 ${window.ran=1} {{ran}}'
)
SHORT = '<img src=x onerror="window.ran=1">\'"><script>ran=1</script>'
NODE = {"type": "img", "props": {"src": "x", "onerror": "window.ran=1", "dangerouslySetInnerHTML": {"__html": EVIL}}}


def nothing_ran(page: Page) -> None:
    assert page.evaluate("window.ran") is None
    assert page.locator("img, iframe, object, embed, script:not([src]), [onerror], [onload], [style*=x]").count() == 0
    assert page.locator("a[href^='javascript' i]").count() == 0


class Hostile(Player):
    """Whatever a worker may report is an attempt."""

    def registration(self, **more: Json) -> Json:
        body = super().registration(**more)
        body["system_info"] |= {"hostname": EVIL[:250], "os": EVIL[:250]}
        for device in body["gpu_info"]["devices"]:
            device |= {"name": EVIL[:250], "driver_version": SHORT[:60], "cuda_version": SHORT[:60]}
        return body | {"labels": {SHORT[:60]: EVIL[:250]}, "address": f"javascript:window.ran=1//{SHORT}"}

    def heartbeat(self, *active: str, **more: Json) -> Json:
        body = super().heartbeat(*active, **more)
        path = {"path": EVIL, "purpose": SHORT[:60], "total": 10, "used": 5, "free": 5}
        body["images"] = [{"id": EVIL, "tags": [EVIL], "size": 1, "created": EVIL, "used_by": [EVIL]}]
        return body | {"disk": body["disk"] | {"paths": [path]}, "active_deployments": [*self.held, SHORT]}

    def _output(self, command: Json) -> Json:
        kept = [{"what": EVIL, "bytes": 1, "why": EVIL}]
        container = {
            "id": EVIL,
            "name": EVIL[:250],
            "image": EVIL,
            "state": SHORT[:60],
            "ours": True,
            "deployment_id": SHORT,
        }
        process = {"pid": 1, "memory": 10**9, "name": EVIL[:250], "container": SHORT}
        look = {"index": 0, "memory_used": 10**9, "utilization": 5, "processes": [process]}
        return {
            "list_containers": {"containers": [container], "gpus": [look]},
            "list_models": {"models": [{"model": EVIL, "size": 1}, {"model": "..", "size": 1}]},
            "prune": {"space_reclaimed": 1, "kept": kept},
            "container_logs": {
                "logs": f"{'x' * 100_000}\n\x1b[31m{EVIL}\x1b[0m\n\x1b]0;title\x07{EVIL}\r\n\x00\x9b31mend\n",
                "next_since": "1",
            },
        }[command["type"]]


@pytest.fixture
def hostile(place: Place, played: Callable[..., Player]) -> Player:
    return played(Machine(f"{unique('evil')}{SHORT}", "x", 1, 8), kind=Hostile)


def test_what_a_worker_reports_is_text(visitor: Visitor, place: Place, hostile: Player) -> None:
    page = visitor.enter(ADMIN_KEY)
    expect(page.get_by_role("link", name=hostile.name)).to_be_visible()
    nothing_ran(page)
    page.get_by_role("link", name=hostile.name).click()
    for heading in ("Containers", "Images", "Models in its cache", "Disk"):
        part = page.get_by_role("region", name=heading)
        expect(part).to_contain_text("window.ran=1")
    nothing_ran(page)
    page.get_by_role("button", name="Prune").click()
    expect(page.get_by_role("dialog")).to_contain_text("window.ran=1")
    nothing_ran(page)
    page.keyboard.press("Escape")
    for action in ("Delete", "Lost", "Remove", "Labels"):
        page.get_by_role("button", name=action).first.click()
        expect(page.get_by_role("dialog")).to_be_visible()
        nothing_ran(page)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_name_is_no_way_to_another_route(visitor: Visitor, place: Place, hostile: Player) -> None:
    """`DELETE …/models/..` would be one that removes the worker."""
    page = visitor.enter(ADMIN_KEY, f"#/workers/{hostile.worker_id}")
    page.get_by_role("region", name="Models in its cache").get_by_role("button", name="Delete").last.click()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "DELETE" else None)
    page.get_by_role("dialog", name="Delete the weights of ..?").get_by_role("button", name="Delete").click()
    visitor.is_told("Nothing can be asked about ..", role="alert")
    assert asked == []


def test_a_deployment_and_its_crash_are_text(visitor: Visitor, place: Place, hostile: Player) -> None:
    model = EVIL.replace("\x00", "")[:500]
    body = {"model": model, "worker_id": hostile.worker_id, "gpus": 0, "config": {EVIL: EVIL, "node": NODE}}
    made = place.admin.post("/api/deployments", body | {"selector": {}}).expect(201)
    place.reach(made["deployment_id"], "running")
    page = visitor.enter(ADMIN_KEY, f"#/deployments/{made['deployment_id']}")
    log = page.get_by_role("log")
    expect(log).to_contain_text("window.ran=1")
    shown = log.inner_text()
    assert not any(ord(character) < 32 and character != "\n" for character in shown)
    assert "[31m" not in shown and "title" not in shown and "end" in shown
    expect(page.get_by_label("a request with curl", exact=True)).to_have_count(0)  # its address is none
    nothing_ran(page)

    fix = {"config": {"max_model_len": 1, EVIL: EVIL}}
    generation = place.admin.deployment(made["deployment_id"])["generation"]
    report = {"error_code": SHORT[:60], "message": EVIL, "logs": f"\x1b[1m{EVIL}", "fix": fix}
    hostile.say(made["deployment_id"], "error", generation, **report).expect(200)
    expect(page.get_by_role("heading", name=SHORT[:60])).to_be_visible()
    expect(page.locator(".fix code")).to_have_text("max_model_len unset → 1")
    page.get_by_text("The end of its log").click()
    expect(page.locator(".timeline")).to_contain_text("window.ran=1")
    nothing_ran(page)
    page.goto(f"{place.url}/#/deployments")
    expect(page.get_by_text(SHORT[:60]).first).to_be_visible()
    nothing_ran(page)
    page.goto(f"{place.url}/#/deployments/{made['deployment_id']}/change")
    expect(page.locator("[data-field=config] input").first).to_have_value(EVIL)
    nothing_ran(page)


def test_what_a_person_types_is_text_and_so_is_the_address(visitor: Visitor, place: Place) -> None:
    visitor.expected = ["400", "404"]
    page = visitor.enter(ADMIN_KEY, "#/deploy")
    page.get_by_text("More", exact=True).click()
    for field in ("Model", "Name", "GPUs", "Image"):
        page.get_by_label(field, exact=True).fill(EVIL)
    page.get_by_role("button", name="Deploy", exact=True).click()
    expect(page.get_by_role("alert").first).to_be_visible()
    page.get_by_label("GPUs", exact=True).fill("0")
    page.get_by_role("button", name="Deploy", exact=True).click()
    expect(page.locator("[data-field=name], [data-field=image]").get_by_role("alert")).to_be_visible()
    nothing_ran(page)
    page.goto(f"{place.url}/#/access")
    page.get_by_role("button", name="Add workers").click()
    page.get_by_label("Name", exact=True).fill(SHORT)
    page.get_by_role("button", name="Make the line to run").click()
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_role("row").filter(has_text=SHORT)).to_be_visible()
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Name", exact=True).fill(SHORT)
    page.get_by_role("button", name="Make", exact=True).click()
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_role("row").filter(has_text=SHORT)).to_have_count(2)
    nothing_ran(page)
    for fragment in (
        "<img src=x onerror=ran=1>",
        "javascript:ran=1",
        "workers/%3Cimg%20src=x%3E",
        "deployments/..%2f..",
        "%",
    ):
        page.goto(f"{place.url}/#/{fragment}")
        page.reload()
        expect(page.get_by_role("main")).to_contain_text(re.compile("It is not there|Nothing is here|Fleet"))
        nothing_ran(page)


def test_a_page_elsewhere_cannot_frame_it(alone: Visitor, place: Place) -> None:
    alone.expected = ["frame-ancestors"]
    page = alone.page
    page.goto("about:blank")
    page.set_content(f"<iframe src='{place.url}/'></iframe>")
    page.wait_for_function("document.querySelector('iframe') && frames.length")
    page.frames[1].wait_for_url("chrome-error:**")
