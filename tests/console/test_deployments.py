"""Deployments as a person goes through them: the form, the way up, a crash and its fix, the log, and the end."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Locator, Page, Route, expect

from tests.console.browser import Visitor
from tests.console.conftest import Place
from tests.console.players import Machine, Player
from tests.fixtures.http_client import unique
from tests.fixtures.serve import ADMIN_KEY
from tests.fixtures.waiting import eventually


def step(page: Page) -> Locator:
    """The station that it is at."""
    return page.locator(".rail [aria-current=step]")


def fill(page: Page, name: str, *, model: str = "org/tiny", gpus: str = "0") -> None:
    page.get_by_label("Model", exact=True).fill(model)
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("GPUs", exact=True).fill(gpus)
    page.get_by_label("On one worker").check()
    page.get_by_label("Worker", exact=True).select_option(label="host (no GPU, online)")


def test_from_the_form_to_running_and_to_the_end(visitor: Visitor, place: Place) -> None:
    page, name = visitor.enter(ADMIN_KEY, "#/deploy"), unique("form")
    fill(page, name)
    page.get_by_label("Value of max_model_len").fill("4096")
    config = page.get_by_role("group", name="config")
    config.get_by_role("button", name="Add").click()
    config.get_by_label("name 2").fill("enforce_eager")
    expect(config.get_by_label("Kind of enforce_eager")).to_have_value("switch")
    env = page.get_by_role("group", name="Environment")
    env.get_by_role("button", name="Add").click()
    env.get_by_label("name 1").fill("STANDIN_LOAD_SECONDS")
    env.get_by_label("Value of STANDIN_LOAD_SECONDS").fill("0.2")
    page.get_by_role("button", name="Deploy", exact=True).click()

    expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()
    expect(page.locator("h1 .status")).to_have_text("running")
    expect(step(page).locator("span")).to_have_text("Running")
    expect(page.locator(".timeline b").first).to_have_text("running")
    made = next(d for d in place.admin.get("/api/deployments").body["deployments"] if d["name"] == name)
    assert made["config"] == {"max_model_len": 4096, "enforce_eager": True} and made["env"] == ["STANDIN_LOAD_SECONDS"]
    expect(page.get_by_label("a request with curl", exact=True)).to_contain_text(
        f"{made['endpoint']}/v1/chat/completions"
    )
    assert made["api_key"] not in page.content()

    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(page.locator("h1 .status")).to_have_text("stopped")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="Deployments", level=1)).to_be_visible()
    expect(page.get_by_role("link", name=name)).to_have_count(0)


def test_nobody_asks_for_what_is_being_deleted(alone: Visitor, place: Place) -> None:
    deployment_id = place.deploy()
    name = place.reach(deployment_id, "running")["name"]
    place.admin.post(f"/api/deployments/{deployment_id}/stop").expect(200)
    place.reach(deployment_id, "stopped")
    alone.page.clock.install()
    page = alone.enter(ADMIN_KEY, f"#/deployments/{deployment_id}")
    held: list[Route] = []
    page.route(
        f"**/api/deployments/{deployment_id}*",
        lambda route: held.append(route) if route.request.method == "DELETE" else route.continue_(),
    )
    page.get_by_role("button", name="Delete").click()
    with page.expect_request(lambda request: request.method == "DELETE"):
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text(f"Deleting {name} …")).to_be_visible()
    assert alone.asked_while(30_000) == []
    assert [route.request.method for route in held] == ["DELETE"]
    held[0].continue_()
    alone.is_told(f"{name} is deleted")
    expect(page.get_by_role("heading", name="Deployments", level=1)).to_be_focused()


def test_what_could_not_be_deleted_is_shown_again(visitor: Visitor, place: Place) -> None:
    deployment_id = place.deploy()
    place.reach(deployment_id, "running")
    place.admin.post(f"/api/deployments/{deployment_id}/stop").expect(200)
    name = place.reach(deployment_id, "stopped")["name"]
    visitor.expected = ["409"]
    page = visitor.enter(ADMIN_KEY, f"#/deployments/{deployment_id}")
    page.get_by_role("button", name="Delete").click()
    place.admin.post(f"/api/deployments/{deployment_id}/start").expect(200)
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    visitor.is_told("stop", role="alert")
    expect(page.get_by_role("heading", name=name, level=1)).to_be_focused()


def test_a_crash_is_retried_with_its_fix(visitor: Visitor, place: Place) -> None:
    deployment_id = place.crashed
    page = visitor.enter(ADMIN_KEY, f"#/deployments/{deployment_id}")
    expect(page.get_by_role("heading", name="CONTEXT_TOO_LONG")).to_be_visible()
    expect(page.locator("h1 .status")).to_have_text("error")
    expect(step(page)).to_have_class("failed")
    expect(step(page).locator("span")).to_have_text("Starting")
    expect(page.locator(".rail .failed")).to_have_count(1)
    expect(page.locator(".fix code")).to_have_text("max_model_len 200000 → 131072")
    page.get_by_role("button", name="Retry with it").click()
    expect(page.locator("h1 .status")).to_have_text("running")
    assert place.admin.deployment(deployment_id)["config"] == {"max_model_len": 131072, "seed": 7}
    expect(page.get_by_text("It crashed")).to_be_visible()
    place.admin.post(f"/api/deployments/{deployment_id}/stop").expect(200)


def test_one_that_was_stopped_meanwhile_is_started_with_its_fix(
    visitor: Visitor, place: Place, played: Callable[..., Player]
) -> None:
    player = played(Machine(unique("fixed"), "NVIDIA L4", 2, 24))
    body = {"model": "org/tiny", "name": unique("gpus"), "worker_id": player.worker_id, "gpus": 1}
    made = place.admin.post("/api/deployments", body).expect(201)
    place.reach(made["deployment_id"], "running")
    fix = {"config": {"gpu_memory_utilization": 0.5}, "gpus": 2}
    report = {"error_code": "CUDA_OUT_OF_MEMORY", "message": "too much", "fix": fix}
    player.say(made["deployment_id"], "error", made["generation"], **report).expect(200)
    place.admin.post(f"/api/deployments/{made['deployment_id']}/stop").expect(200)
    place.reach(made["deployment_id"], "stopped")
    page = visitor.enter(ADMIN_KEY, f"#/deployments/{made['deployment_id']}")
    page.get_by_text("It crashed").click()
    expect(page.locator(".fix code")).to_have_text(["gpu_memory_utilization unset → 0.5", "gpus 1 → 2"])
    page.get_by_role("button", name="Retry with it").click()
    expect(page.locator("h1 .status")).to_have_text("running")
    changed = place.admin.deployment(made["deployment_id"])
    assert (changed["config"], changed["gpus"], changed["desired"]) == ({"gpu_memory_utilization": 0.5}, 2, "running")


def test_a_fix_adds_its_variables_and_keeps_the_others(
    visitor: Visitor, place: Place, played: Callable[..., Player]
) -> None:
    player = played(Machine(unique("fixed"), "NVIDIA L4", 2, 24))
    body = {"model": "org/tiny", "name": unique("env"), "worker_id": player.worker_id, "env": {"SECRET_WORD": "hidden"}}
    made = place.admin.post("/api/deployments", body).expect(201)
    place.reach(made["deployment_id"], "running")
    report = {"error_code": "GPU_COMMUNICATION", "message": "NCCL", "fix": {"env": {"NCCL_P2P_DISABLE": "1"}}}
    player.say(made["deployment_id"], "error", made["generation"], **report).expect(200)
    page = visitor.enter(ADMIN_KEY, f"#/deployments/{made['deployment_id']}")
    expect(page.locator(".fix code")).to_have_text("NCCL_P2P_DISABLE unset → 1")
    page.get_by_role("button", name="Retry with it").click()
    expect(page.locator("h1 .status")).to_have_text("running")
    assert place.admin.deployment(made["deployment_id"])["env"] == ["NCCL_P2P_DISABLE", "SECRET_WORD"]


def test_a_crash_loop_is_named_with_its_next_start(
    visitor: Visitor, place: Place, played: Callable[..., Player]
) -> None:
    name = unique("loop")
    player = played(Machine(unique("loops"), "NVIDIA L4", 2, 24))
    body = {"model": "org/tiny", "name": name, "worker_id": player.worker_id}
    made = place.admin.post("/api/deployments", body).expect(201)
    place.reach(made["deployment_id"], "running")

    def crash(times: int, next_start_in: int) -> None:
        loop = {"error_code": "CUDA_OUT_OF_MEMORY", "times": times, "next_start_in": next_start_in}
        report = {"error_code": "CUDA_OUT_OF_MEMORY", "message": "too much", "restarts": times, "crash_loop": loop}
        player.say(made["deployment_id"], "starting", made["generation"], **report).expect(200)

    crash(3, 100)
    page = visitor.enter(ADMIN_KEY, "#/deployments")
    row = page.locator(".deployment").filter(has_text=name)
    expect(row).to_contain_text(re.compile(r"crash loop: CUDA_OUT_OF_MEMORY, next start in \d\d s"))
    row.get_by_role("link", name=name).click()
    expect(page.locator(".banner")).to_contain_text(re.compile(r"crash loop: CUDA_OUT_OF_MEMORY, next start in \d\d s"))
    crash(12, 1795)
    expect(page.locator(".banner")).to_contain_text("next start in 30 min; the same cause 12 times. It does not heal")
    page.get_by_role("button", name="Restart").click()
    expect(page.locator("h1 .status")).to_have_text("running")
    expect(page.locator(".banner")).to_have_count(0)


def test_the_log_goes_on_by_itself_and_pauses(alone: Visitor, place: Place) -> None:
    seen = place.reach(place.running, "running")
    alone.page.clock.install()
    page = alone.enter(ADMIN_KEY, f"#/deployments/{place.running}")
    log = page.get_by_role("log")
    expect(log).to_contain_text("Application startup complete")

    def say(word: str) -> None:
        # A GET that the stand-in logs: what a client asks is in the model's own log.
        page.context.request.get(f"{seen['endpoint']}/{word}")

    say("marmalade")
    expect(log).to_contain_text("GET /marmalade")
    assert log.inner_text().count("GET /marmalade") == 1
    assert log.inner_text().count("Application startup complete") == 1
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".tail")).to_have_text("paused")
    # Requests that were due before the button took effect.
    eventually(lambda: not any("/logs" in url for url in alone.asked_while(1000)))
    say("toast")
    asked = [url for _ in range(4) for url in alone.asked_while(5000)]
    assert asked and not any("/logs" in url for url in asked)
    assert "toast" not in log.inner_text()
    page.get_by_role("button", name="Go on").click()
    expect(log).to_contain_text("GET /toast")


def test_a_hidden_page_asks_nothing(alone: Visitor, place: Place) -> None:
    alone.page.clock.install()
    page = alone.enter(ADMIN_KEY, f"#/workers/{place.worker_id}")
    expect(page.get_by_role("heading", name="host", level=1)).to_be_visible()
    hide = "(yes) => { Object.defineProperty(document, 'hidden', { value: yes, configurable: true }); %s }"
    tell = hide % "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(tell, True)
    alone.falls_silent(1000)  # what was asked for before is answered, and a worker's answer waited for
    assert alone.asked_while(600_000) == []
    with page.expect_request(lambda request: request.url.endswith(place.worker_id)):
        page.evaluate(tell, False)


def test_what_is_wrong_is_said_at_its_field(visitor: Visitor, place: Place) -> None:
    visitor.expected = ["400", "409"]
    taken = place.admin.deployment(place.running)["name"]
    page = visitor.enter(ADMIN_KEY, "#/deploy")

    def refused(field: str, says: str) -> None:
        page.get_by_role("button", name="Deploy", exact=True).click()
        place_of_it = page.locator(f"[data-field={field}]")
        expect(place_of_it.get_by_role("alert")).to_contain_text(says)
        expect(page.get_by_role("alert").filter(has_text=says)).to_have_count(1)

    refused("model", "expected")
    expect(page.get_by_label("Model", exact=True)).to_be_focused()
    fill(page, "Not A Name!")
    refused("name", "of the form")
    page.get_by_label("Name", exact=True).fill(taken)
    refused("name", "exists; take another name")
    page.get_by_label("Name", exact=True).fill(unique("field"))
    page.get_by_label("GPUs", exact=True).fill("99")
    refused("gpus", "expected")
    page.get_by_label("GPUs", exact=True).fill("a few")
    refused("gpus", "whole number")
    page.get_by_label("GPUs", exact=True).fill("0")
    page.get_by_label("Value of max_model_len").fill("many")
    refused("config", "max_model_len: expected a number")
    page.get_by_label("Value of max_model_len").fill("")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Image", exact=True).fill("--privileged")
    refused("image", "of the form")
    page.get_by_label("Image", exact=True).fill("")
    page.get_by_label("Worker", exact=True).select_option("")
    refused("worker_id", "expected")


def test_a_change_replaces_what_was_and_keeps_what_cannot_be_read(visitor: Visitor, place: Place) -> None:
    deployment_id = place.running
    place.reach(deployment_id, "running")
    page = visitor.enter(ADMIN_KEY, f"#/deployments/{deployment_id}/change")
    page.get_by_label("Value of max_model_len").fill("1024")
    page.get_by_role("button", name="Remove dtype").click()
    page.get_by_role("button", name="Change it").click()
    expect(page.locator(".config")).to_have_text("max_model_len1024")
    changed = place.reach(deployment_id, "running")
    assert changed["config"] == {"max_model_len": 1024} and changed["env"] == ["SECRET_WORD"]
    page.goto(f"{place.url}/#/deployments/{deployment_id}/change")
    expect(page.get_by_label("Value of max_model_len")).to_have_value("1024")
    expect(page.get_by_label("Value of dtype")).to_have_count(0)
