"""Conditions on the wire: what a worker reports, and what operators are shown of it."""

from __future__ import annotations

import subprocess
from datetime import datetime, timezone

import pytest

from tests.conformance.test_metrics import scrape
from tests.fixtures.http_client import Json, Operator
from tests.fixtures.http_workers import Agent, Worker
from tests.fixtures.prometheus import program, samples_of

DOWN = {"type": "EngineUnavailable", "message": "Docker does not answer"}
LOST = {"type": "GpuLost", "message": "GPU 1 fell off the bus (Xid 79)", "gpus": [1]}


def conditions_of(viewer: Operator, worker: Worker) -> list[Json]:
    shown = viewer.get(f"/api/workers/{worker.worker_id}").expect(200)
    (listed,) = (w for w in viewer.get("/api/workers?limit=500").expect(200)["workers"] if w["name"] == worker.name)
    assert listed["conditions"] == shown["conditions"]
    found: list[Json] = shown["conditions"]
    return found


def test_a_worker_in_order_has_an_empty_list(agent: Agent, viewer: Operator) -> None:
    agent.beat()
    assert conditions_of(viewer, agent) == []
    agent.beat(conditions=[])
    assert conditions_of(viewer, agent) == []
    agent.beat(conditions=None)
    assert conditions_of(viewer, agent) == []


def test_a_condition_has_type_since_and_message_and_nothing_else(agent: Agent, viewer: Operator) -> None:
    agent.beat(conditions=[LOST, DOWN])
    first, second = conditions_of(viewer, agent)
    assert first == {"type": "EngineUnavailable", "since": first["since"], "message": DOWN["message"]}
    assert second == {"type": "GpuLost", "since": second["since"], "message": LOST["message"]}
    assert first["since"].endswith("Z")
    stamped = datetime.fromisoformat(first["since"])
    assert stamped.tzinfo == timezone.utc
    agent.beat(conditions=[{**LOST, "message": "another"}, DOWN])
    assert [each["since"] for each in conditions_of(viewer, agent)] == [first["since"], second["since"]]
    agent.beat(conditions=[DOWN])
    assert conditions_of(viewer, agent) == [first]


def test_a_basic_client_may_report_conditions_too(worker: Worker, viewer: Operator) -> None:
    worker.beat(conditions=[DOWN])
    assert [each["type"] for each in conditions_of(viewer, worker)] == ["EngineUnavailable"]
    worker.beat()
    assert conditions_of(viewer, worker) == []


def test_a_deployment_names_what_holds_it_up(agent: Agent, operator: Operator, viewer: Operator) -> None:
    ids = [operator.deploy(agent.worker_id, gpus=gpus)["deployment_id"] for gpus in ([0], [1], 0)]

    def held_up(**scope: Json) -> list[bool]:
        agent.beat(conditions=[{**DOWN, **scope}])
        shown = [viewer.get(f"/api/deployments/{each}").expect(200)["conditions"] for each in ids]
        assert all(found in ([], conditions_of(viewer, agent)) for found in shown)
        listed = viewer.get(f"/api/deployments?worker_id={agent.worker_id}").expect(200)["deployments"]
        assert {each["deployment_id"]: each["conditions"] for each in listed} == dict(zip(ids, shown, strict=True))
        return [bool(found) for found in shown]

    assert held_up() == [True, True, True]
    assert held_up(gpus=[1]) == [False, True, False]
    assert held_up(deployments=[ids[2]]) == [False, False, True]
    assert held_up(deployments=[]) == [False, False, False]


@pytest.mark.parametrize(
    "reported",
    [
        [{"type": f"Kind{n}", "message": "x"} for n in range(500)],
        [{"type": "EngineUnavailable", "message": "x" * 500_000}],
        [{"type": "EngineUnavailable", "message": "\u202e" * 50_000}],
        [{"type": "EngineUnavailable", "message": "x", "of_a_newer_agent": {"a": [1]}}],
        [{"type": "EngineUnavailable", "message": "x", "deployments": ["d" * 512] * 1024}],
        [{"type": "\u202e\x1b[2J" * 10, "message": ""}],
    ],
)
def test_a_report_of_any_size_is_taken_and_cut(agent: Agent, viewer: Operator, reported: Json) -> None:
    agent.beat(conditions=reported)
    found = conditions_of(viewer, agent)
    assert 1 <= len(found) <= 32
    for each in found:
        assert each["message"].isprintable() and len(each["message"]) <= 1024
        assert each["type"].isprintable() and len(each["type"]) <= 64


@pytest.mark.parametrize(
    "wrong",
    [
        "EngineUnavailable",
        ["EngineUnavailable"],
        [{"type": "EngineUnavailable"}],
        [{"message": "x"}],
        [{"type": "", "message": "x"}],
        [{"type": "T" * 65, "message": "x"}],
        [{"type": "GpuLost", "message": "x", "gpus": [64]}],
        [{"type": "GpuLost", "message": "x", "gpus": "all"}],
        [{"type": "GpuLost", "message": 7}],
    ],
)
def test_what_is_no_condition_is_refused_with_the_field(agent: Agent, wrong: Json) -> None:
    refused = agent.try_beat(conditions=wrong)
    assert "conditions" in refused.expect(400, "INVALID_REQUEST")["message"]


def test_metrics_have_a_sample_for_each_type_and_promtool_finds_no_fault(agent: Agent, viewer: Operator) -> None:
    agent.beat(conditions=[LOST, {"type": 'New"\\{}\n', "message": "x"}])
    text = scrape(viewer)
    samples = {
        dict(labels)["type"]: value
        for (name, labels), value in samples_of(text).items()
        if name == "muster_worker_condition" and dict(labels)["worker"] == agent.name
    }
    assert samples == {"GpuLost": 1, "Other": 1}
    checked = subprocess.run([program("promtool"), "check", "metrics"], input=text.encode(), capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_the_timeline_of_the_worker_has_a_line_for_each_beginning_and_end(agent: Agent, viewer: Operator) -> None:
    agent.beat(conditions=[DOWN])
    agent.beat()
    events = viewer.get(f"/api/workers/{agent.worker_id}/events").expect(200)["events"]
    cleared, begun = (each for each in events if each["type"].startswith("condition_"))
    assert (begun["type"], begun["message"]) == ("condition_set", "EngineUnavailable: Docker does not answer")
    assert (cleared["type"], cleared["by"]) == ("condition_cleared", f"worker {agent.name}")
