"""Conditions: what is stored of a report, when, and whom a condition holds up."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Any

import pytest

from chalicelib.auth import tokens
from chalicelib.deployments import views
from chalicelib.fleet import conditions
from chalicelib.store.items import find
from chalicelib.store.tables import Conditions, Deployment, WorkerHeartbeat
from chalicelib.store.times import when
from chalicelib.workers import admin
from muster.api import messages as m
from muster.api import resources as r
from muster.api.conditions import ConditionType
from tests.fixtures.database import Killed
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker, lines
from tests.fixtures.units import size_of

DOWN = {"type": "EngineUnavailable", "message": "Docker does not answer"}
LOST = {"type": "GpuLost", "message": "GPU 1 fell off the bus (Xid 79)", "gpus": [1]}
UNIT = 1024


def shown(world: PlaneWorld, worker: Worker) -> list[tuple[str, float, str]]:
    """What GET returns, `since` in seconds from the beginning of 1,800,000,000."""
    view = admin.get(worker.id, world.now)
    return [(each.type, each.since.timestamp() - 1_800_000_000, each.message) for each in view.conditions]


def told(world: PlaneWorld, worker: Worker) -> list[tuple[str, str]]:
    found = lines(world, worker.id)
    return [(each.type, each.message) for each in found if each.type.startswith("condition_")]


def item_of(worker: Worker) -> dict[str, Any]:
    stored: dict[str, Any] = WorkerHeartbeat._get_connection().get_item(worker.id)["Item"]
    return stored


def writes(world: PlaneWorld, worker: Worker, **fields: Any) -> Counter[str]:
    with world.database.counting() as calls:
        worker.beat(**fields)
    return Counter(operation for operation, _ in calls)


def test_a_reported_condition_is_shown_with_the_time_of_the_control_plane(world: PlaneWorld) -> None:
    worker = world.worker()
    assert shown(world, worker) == []
    world.pass_(7)
    worker.beat(conditions=[LOST, DOWN])
    assert shown(world, worker) == [
        ("EngineUnavailable", 7, "Docker does not answer"),
        ("GpuLost", 7, "GPU 1 fell off the bus (Xid 79)"),
    ]
    assert admin.list_(r.PageQuery(), world.now).workers[0].conditions[1].since == when(world.now)


def test_since_stays_while_the_type_is_set_whatever_else_changes(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat(conditions=[LOST])
    for second in range(1, 40):
        world.pass_(10)
        more = [DOWN] if second % 2 else []
        worker.beat(conditions=[{**LOST, "gpus": [second % 3], "message": f"message {second}"}, *more])
    assert [since for type_, since, _ in shown(world, worker) if type_ == "GpuLost"] == [0]


def test_a_condition_ends_with_the_heartbeat_that_does_not_report_it(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat(conditions=[LOST, DOWN])
    world.pass_(5)
    worker.beat(conditions=[LOST])
    assert [type_ for type_, *_ in shown(world, worker)] == ["GpuLost"]
    world.pass_(5)
    worker.beat()
    assert shown(world, worker) == []
    world.pass_(5)
    worker.beat(conditions=[LOST])
    assert shown(world, worker) == [("GpuLost", 15, LOST["message"])], "set anew"


def test_an_offline_worker_shows_the_conditions_last_known(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat(conditions=[DOWN])
    world.pass_(1000)
    assert admin.get(worker.id, world.now).status == "offline"
    assert shown(world, worker) == [("EngineUnavailable", 0, DOWN["message"])]


def test_an_idle_heartbeat_with_conditions_is_one_write_of_one_unit_with_64_gpus_while_registering(
    world: PlaneWorld,
) -> None:
    worker = world.worker(gpus=64, machine_id="m", boot_id="b")
    every = [{"type": type_, "message": "m" * 200} for type_ in ConditionType]
    every += [{"type": f"Unknown{n}", "message": "from a newer agent"} for n in range(32 - len(every))]
    worker.journal_id = "a-journal-id-of-some-length-0123456789"
    usage = [{"index": i, "memory_used": 2**53, "utilization": 100} for i in range(64)]
    disk = {"total": 2**53, "used": 2**52, "free": 2**52, "percent": 50.0}
    fields: dict[str, Any] = {"gpu_usage": usage, "disk": disk, "conditions": every, "status": "draining"}
    for n in range(4):  # their answers are used, so that tokens are retired
        worker.beat(**fields)
        world.pass_(0.123456)
        worker.register(machine_id="m", boot_id=f"b{n}")
    worker.beat(**fields)
    joined, known = worker.answer.token, worker.token
    worker.register(machine_id="m", boot_id="last")
    heartbeat = find(WorkerHeartbeat, worker.id)
    assert heartbeat is not None and joined and known
    assert all(
        (
            heartbeat.digest,
            heartbeat.previous,
            heartbeat.used,
            heartbeat.previous_until,
            heartbeat.joined,
            heartbeat.boot,
            heartbeat.journal,
        )
    )
    assert len(bytes(heartbeat.retired)) == 32 * tokens.MAX_RETIRED_DIGESTS
    worker.token = known  # the last answer was lost: it goes on with the token before
    session = int(heartbeat.session)
    inbox = worker.beat(**fields, session=session).inbox
    for _ in range(4):
        world.pass_(400.123456)
        worker.token = worker.answer.token
        inbox = worker.beat(**fields, session=session, inbox=inbox).inbox
    WorkerHeartbeat(worker.id).update(
        actions=[
            WorkerHeartbeat.previous.set(b"p" * 32),
            WorkerHeartbeat.used.set(b"u" * 32),
            WorkerHeartbeat.previous_until.set(world.now + 600.123456),
            WorkerHeartbeat.joined.set(b"j" * 32),
            WorkerHeartbeat.ephemeral.set(True),
            WorkerHeartbeat.activity_before.set(world.now - 0.123456),
        ]
    )
    assert size_of(item_of(worker)) <= UNIT, "before the write as well: the larger of the two is paid"
    looks = 0
    for _ in range(20):
        world.pass_(30.123456)
        WorkerHeartbeat(worker.id).update(actions=[WorkerHeartbeat.joined.set(b"j" * 32)])
        with world.database.counting() as calls:
            answer = worker.beat(**fields, session=session, inbox=inbox)
        counted = Counter(operation for operation, _ in calls if operation != "UpdateItem")
        looks += bool(counted["Query"])
        assert (answer.commands, answer.next_heartbeat_in) == ([], 30)
        assert set(counted) <= {"Query", "BatchGetItem"}, counted
        stored = item_of(worker)
        assert size_of(stored) <= UNIT, f"{size_of(stored)} bytes"
        assert size_of({"": stored["c"]}) <= 4
    assert looks == 2, "one in ten looks"
    assert len(shown(world, worker)) == 32


@pytest.mark.parametrize("beats", [1, 100])
def test_a_text_with_a_counter_costs_no_write_at_each_heartbeat(world: PlaneWorld, beats: int) -> None:
    worker = world.worker()
    worker.beat(conditions=[DOWN])
    with world.database.counting() as calls:
        for beat in range(beats):
            world.pass_(1)
            worker.beat(conditions=[{**DOWN, "message": f"tried {beat} times"}])
    counted = Counter(operation for operation, _ in calls)
    assert counted["UpdateItem"] == beats
    assert counted["PutItem"] <= beats / conditions.TEXT_EVERY_SECONDS, "one a minute"
    assert counted["Query"] <= beats / 10 + 1


def test_a_text_that_changed_is_shown_after_a_while(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat(conditions=[DOWN])
    for _ in range(20):
        world.pass_(30)
        worker.beat(conditions=[{**DOWN, "message": "Docker answers with 500"}])
    assert shown(world, worker) == [("EngineUnavailable", 0, "Docker answers with 500")]


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[2J\x1b[Hgone",
        "a\nforged line\r\n\x0b\x0c\x85",
        "\x9b2J\x9d0;x\x9c",
        "photo\u202egnp.exe\u2066",
        "a\u200b\u200d\ufeffb\u2028c\u2029",
        "\0" * 100,
        "tags \U000e0041\U000e007f and what is nobody's \ue000\U0010ffff",
        "x" * 100_000,
        "\u202e" * 5000,
        "🙂" * 5000,
        "",
    ],
)
def test_the_text_of_a_hostile_host_is_one_short_line(world: PlaneWorld, text: str) -> None:
    worker = world.worker()
    worker.beat(conditions=[{"type": "EngineUnavailable", "message": text}])
    ((_, _, message),) = shown(world, worker)
    assert message.isprintable() and len(message) <= conditions.MAX_TEXT_CHARACTERS
    assert all(line.isprintable() for _, line in told(world, worker))


def test_what_is_for_reading_is_kept(world: PlaneWorld) -> None:
    worker = world.worker()
    message = "Zürich 東京 🙂 a\\b: docker's «socket» is gone (errno 2)"
    worker.beat(conditions=[{**DOWN, "message": message}])
    assert shown(world, worker)[0][2] == message


def test_types_of_newer_agents_are_kept_as_they_are(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat(conditions=[{"type": "FanStuck", "message": "fan 2"}, {"type": "MeteorStrike", "message": "hot"}])
    assert [type_ for type_, *_ in shown(world, worker)] == ["FanStuck", "MeteorStrike"]
    world.pass_(5)
    worker.beat(conditions=[{"type": "MeteorStrike", "message": "hot"}])
    assert shown(world, worker) == [("MeteorStrike", 0, "hot")], "the other one ends, though they share a bit"


def test_a_hostile_type_is_cleaned_as_a_text_is(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat(conditions=[{"type": "\x1b[31m\u202eEvil\n", "message": ""}])
    ((type_, *_),) = shown(world, worker)
    assert type_.isprintable() and "Evil" in type_


def test_a_worker_has_at_most_32_conditions(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat(conditions=[{"type": f"Kind{n}", "message": "🙂" * 1024} for n in range(5000)])
    assert len(shown(world, worker)) == 32
    assert len(told(world, worker)) <= conditions.MAX_LINES_PER_HOUR


def test_the_largest_report_fits_its_item(world: PlaneWorld) -> None:
    worker = world.worker()
    made = [world.deploy(gpus=0, name=f"d{n}") for n in range(64)]
    worker.beat()
    worker.beat(
        conditions=[
            {"type": f"Kind{n}", "message": "\U0010ffff" * 4096, "gpus": list(range(64)), "deployments": made * 16}
            for n in range(32)
        ]
    )
    stored = Conditions._get_connection().get_item(worker.id, "conditions")["Item"]
    assert size_of(stored) < 400_000
    assert len(shown(world, worker)) == 32


def test_a_type_reported_twice_holds_up_what_either_does(world: PlaneWorld) -> None:
    worker = world.worker()
    ids = [world.deploy(gpus=[n], name=f"d{n}") for n in range(2)]
    worker.beat(conditions=[{**LOST, "gpus": [0]}, {**LOST, "gpus": [1]}])
    assert len(shown(world, worker)) == 1
    assert [len(world.see(each).conditions) for each in ids] == [1, 1]


# Deployments


def held_up(world: PlaneWorld, ids: list[str], worker: Worker, **scope: Any) -> list[bool]:
    worker.beat(conditions=[{**DOWN, **scope}])
    seen = [world.see(each).conditions for each in ids]
    assert all([each.message for each in found] in ([], [DOWN["message"]]) for found in seen)
    return [bool(found) for found in seen]


def test_a_deployment_has_the_conditions_of_its_worker_that_hold_it_up(world: PlaneWorld) -> None:
    worker = world.worker(gpus=4)
    ids = [world.deploy(gpus=[0, 1], name="a"), world.deploy(gpus=[2], name="b"), world.deploy(gpus=0, name="c")]
    worker.beat()
    assert held_up(world, ids, worker) == [True, True, True]
    assert held_up(world, ids, worker, gpus=[1, 3]) == [True, False, False]
    assert held_up(world, ids, worker, gpus=[3]) == [False, False, False]
    assert held_up(world, ids, worker, gpus=[]) == [False, False, False]
    assert held_up(world, ids, worker, deployments=[ids[2], "of another"]) == [False, False, True]
    assert held_up(world, ids, worker, deployments=[]) == [False, False, False]
    assert held_up(world, ids, worker, deployments=[ids[1]], gpus=[0]) == [True, True, False]


def test_a_deployment_elsewhere_or_without_a_place_has_no_condition_of_that_worker(world: PlaneWorld) -> None:
    worker, other = world.worker(), world.worker("gpu-2")
    there = world.deploy(worker_id=other.id, name="there")
    waiting = world.deploy(gpus=64, name="waiting")
    assert held_up(world, [there, waiting], worker, deployments=[there, waiting]) == [False, False]
    assert held_up(world, [there, waiting], worker) == [False, False]


def test_what_is_stopped_is_not_held_up(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy()
    worker.run(deployment_id)
    assert held_up(world, [deployment_id], worker) == [True]
    world.stop(deployment_id)
    assert held_up(world, [deployment_id], worker) == [True], "it is still to be ended there"
    worker.report(deployment_id, "stopped")
    assert held_up(world, [deployment_id], worker) == [False]


def test_lists_of_deployments_read_the_conditions_of_their_workers_once(world: PlaneWorld) -> None:
    worker = world.worker()
    for n in range(5):
        world.deploy(gpus=0, name=f"d{n}")
    worker.beat(conditions=[DOWN])
    with world.database.counting() as calls:
        found = views.several(r.DeploymentsQuery(), ADMIN, world.now).deployments
    assert [len(each.conditions) for each in found] == [1] * 5
    asked = Counter(operation for operation, _ in calls)
    worker.beat()
    with world.database.counting() as calls:
        assert not views.several(r.DeploymentsQuery(), ADMIN, world.now).deployments[0].conditions
    assert asked - Counter(operation for operation, _ in calls) == {"BatchGetItem": 1}, "in order, it costs nothing"


# Timelines


def test_the_timeline_has_a_line_when_a_condition_is_set_and_when_it_is_cleared(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat(conditions=[DOWN])
    worker.beat(conditions=[DOWN])
    world.pass_(90)
    worker.beat()
    worker.beat()
    assert told(world, worker) == [
        ("condition_set", "EngineUnavailable: Docker does not answer"),
        ("condition_cleared", "EngineUnavailable, after 90 s"),
    ]


def test_a_condition_that_comes_and_goes_at_each_heartbeat_does_not_flood_the_timeline(world: PlaneWorld) -> None:
    worker = world.worker()
    for beat in range(1200):
        world.pass_(1)
        worker.beat(conditions=[DOWN] if beat % 2 else [])
    assert 2 <= len(told(world, worker)) <= 2 * 1200 / conditions.LINE_EVERY_SECONDS
    worker.beat()
    assert [type_ for type_, _ in told(world, worker)[-2:]] == ["condition_set", "condition_cleared"]


def test_ever_other_types_do_not_flood_the_timeline(world: PlaneWorld) -> None:
    worker = world.worker()
    for beat in range(300):
        world.pass_(1)
        worker.beat(conditions=[{"type": f"Kind{beat}x{n}", "message": ""} for n in range(32)])
    assert len(told(world, worker)) <= 2 * conditions.MAX_LINES_PER_HOUR


def test_a_line_that_had_no_room_follows_while_the_condition_is_set(world: PlaneWorld) -> None:
    worker = world.worker()
    for reported in ([DOWN], [], [DOWN]):
        worker.beat(conditions=reported)
    assert [type_ for type_, _ in told(world, worker)] == ["condition_set", "condition_cleared"]
    for _ in range(12):
        world.pass_(30)
        worker.beat(conditions=[DOWN])
    assert [type_ for type_, _ in told(world, worker)] == ["condition_set", "condition_cleared", "condition_set"]


def test_a_look_that_is_cut_off_anywhere_is_completed_and_told_at_most_once(world: PlaneWorld) -> None:
    for calls in range(12):
        worker = world.worker(f"cut-{calls}")
        worker.beat()
        with world.database.killed_after(calls), contextlib.suppress(Killed):
            worker.beat(conditions=[DOWN])
        world.pass_(1)
        worker.beat(conditions=[DOWN])
        assert [type_ for type_, *_ in shown(world, worker)] == ["EngineUnavailable"]
        assert len(told(world, worker)) <= 1


# Another host, and none


def test_a_host_that_takes_the_name_has_none_of_the_conditions_of_the_one_before(world: PlaneWorld) -> None:
    worker = world.worker(machine_id="m1")
    worker.beat(conditions=[DOWN])
    world.pass_(1000)
    takeover = tokens.create_token(r.NewRegistrationToken(takeover=True), ADMIN, world.now).token
    worker.join_token = str(takeover)
    worker.register(machine_id="m2")
    assert shown(world, worker) == []
    worker.beat(conditions=[DOWN])
    assert shown(world, worker) == [("EngineUnavailable", 1000, DOWN["message"])]


def test_a_host_that_returns_keeps_its_conditions_until_it_reports(world: PlaneWorld) -> None:
    worker = world.worker(machine_id="m1", boot_id="b1")
    worker.beat(conditions=[DOWN])
    world.pass_(10)
    worker.register(boot_id="b2", past_boot_ids=["b1"])
    assert shown(world, worker) == [("EngineUnavailable", 0, DOWN["message"])]
    worker.beat()
    assert shown(world, worker) == []


def test_nothing_is_left_of_a_worker_that_is_removed(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat(conditions=[DOWN])
    removed = admin.remove(worker.id, True, "an admin", world.now)
    assert [each.type for each in removed.conditions] == ["EngineUnavailable"]
    assert find(Conditions, worker.id, "conditions") is None


def test_a_basic_client_has_no_conditions_and_costs_what_it_did(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.beat()
    assert writes(world, worker) == {"UpdateItem": 1}
    assert "c" not in item_of(worker)


# By themselves


def test_what_the_control_plane_found_is_shown_among_what_is_reported_each_type_once() -> None:
    reported = [conditions.Held("AddressConflict", 5.0, "reported"), conditions.Held("EngineUnavailable", 5.0, "down")]
    derived = conditions.Held("AddressConflict", 7.0, "derived, from \u202e\x1b[2J an address")
    assert conditions.merged(reported, None) == reported
    assert conditions.merged([], derived) == [derived]
    shown = conditions.views(conditions.merged(reported[::-1], derived))
    assert [each.type for each in shown] == ["AddressConflict", "EngineUnavailable"]
    assert shown[0].since == when(7.0) and shown[0].message.isprintable()


def test_the_bits_of_the_types_are_at_most_four_bytes() -> None:
    every = [m.ReportedCondition(type_, "") for type_ in ConditionType]
    assert conditions.mask(None) is conditions.mask([]) is None
    assert conditions.mask([m.ReportedCondition("EngineUnavailable", "")]) == b"\x01"
    packed = conditions.mask([*every, m.ReportedCondition("New", "")])
    assert packed is not None and len(packed) == 4


def test_a_condition_holds_up_what_its_scope_names() -> None:
    deployment = Deployment("d1", desired="running", status="running", gpu_indexes="[0]")
    assert conditions.Held("GpuLost", 0.0, "").holds_up(deployment)
    assert conditions.Held("GpuLost", 0.0, "", gpus=[0]).holds_up(deployment)
    assert not conditions.Held("GpuLost", 0.0, "", deployments=[]).holds_up(deployment)
