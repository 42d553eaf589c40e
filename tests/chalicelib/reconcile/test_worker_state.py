"""What a heartbeat says of the worker itself is kept, and its timeline has the changes."""

from __future__ import annotations

import string
from random import Random

import msgspec
import pytest

from chalicelib.reconcile import worker_state
from chalicelib.store.items import find
from chalicelib.store.tables import WorkerHeartbeat, WorkerReport
from chalicelib.workers import admin
from muster.api import messages as m
from tests.fixtures.plane_world import PlaneWorld, lines
from tests.fixtures.reconciling import agent, heartbeat_of, run


def test_what_is_unknown_here_is_an_orphan_and_never_stopped(world: PlaneWorld) -> None:
    worker = world.worker()
    worker.active = ["somebody-elses"]
    assert [worker.types() for _ in range(12)] == [[]] * 12
    assert admin.get(worker.id, world.now).orphans == ["somebody-elses"]
    worker.active = []
    worker.beat()
    assert admin.get(worker.id, world.now).orphans == []


@pytest.mark.parametrize(
    ("drains", "said", "changed"),
    [
        (None, "online", False),
        (None, "draining", True),
        (True, "draining", False),
        (True, "online", True),
        (True, "offline", False),
        (None, "offline", False),
    ],
)
def test_a_drain_has_changed_when_the_worker_says_so_and_its_timeline_does_not(
    drains: bool | None, said: str, changed: bool
) -> None:
    body = msgspec.convert({"status": said, "gpu_usage": [], "active_deployments": []}, m.Heartbeat)
    assert worker_state.drain_changed(WorkerHeartbeat("w", drains=drains), body) is changed


def test_lists_that_are_too_long_for_an_item_are_cut(world: PlaneWorld) -> None:
    worker = world.worker()
    random = Random(1)
    tag = "".join(random.choices(string.ascii_letters, k=10_000))
    images = [m.Image(f"sha256:{number}", [tag], 1, "") for number in range(80)]
    folders = [m.DiskPath("\u20ac" * 4096, "weights", 1, 0, 1)] * 16
    unknown = ["\u20ac" * 500 + str(number) for number in range(200)]
    worker.beat(active_deployments=unknown, images=images, disk=m.Disk(1, 0, 1, paths=folders))
    shown = admin.get(worker.id, world.now)
    assert 10 < len(shown.orphans) < len(unknown)
    kept = admin.last_images(worker.id, world.now)
    assert kept is not None and 10 < len(kept.images) < len(images)
    item = find(WorkerReport, worker.id, "seen")
    assert item is not None
    assert sum(len(str(value).encode()) for value in item.attribute_values.values()) < 400_000


def test_what_a_worker_lists_and_says_is_kept_for_people(world: PlaneWorld) -> None:
    worker = agent(world)
    known = run(world, worker)
    disk = m.Disk(10, 4, 6, paths=[m.DiskPath("/weights", "weights", 10, 4, 6)])
    images = [m.Image("sha256:1", ["a:1"], 5, "2026-01-01")] * 1025
    orphans = [{"deployment_id": "told", "gpus": []}]
    worker.beat(active_deployments=[known, "listed"], orphans=orphans, images=images, disk=disk)
    seen = find(WorkerReport, worker.id, "seen")
    assert seen is not None
    assert msgspec.json.decode(seen.active) == sorted([known, "listed"])
    shown = admin.get(worker.id, world.now)
    assert shown.orphans == ["listed", "told"]
    assert shown.disk is not None and shown.disk.paths == disk.paths
    kept = admin.last_images(worker.id, world.now)
    assert kept is not None and len(kept.images) == 1024
    world.pass_(1)
    worker.beat(active_deployments=[known])
    assert admin.get(worker.id, world.now).orphans == []
    assert admin.last_images(worker.id, world.now) == kept, "what is not said stays"


def test_a_condition_is_kept_and_ends_with_the_heartbeat_without_it(world: PlaneWorld) -> None:
    worker = agent(world)
    worker.beat()
    worker.beat(conditions=[m.ReportedCondition("ContainerRuntimeDown", "it hangs")])
    (held,) = admin.get(worker.id, world.now).conditions
    assert (held.type, held.message) == ("ContainerRuntimeDown", "it hangs")
    worker.beat()
    told = [line.type for line in lines(world, worker.id)]
    assert told[-2:] == ["condition_set", "condition_cleared"]


def test_a_changed_text_of_a_condition_is_kept_with_a_later_look(world: PlaneWorld) -> None:
    worker = agent(world)
    worker.beat(conditions=[m.ReportedCondition("DiskFull", "0 B free")])
    for _ in range(12):
        world.pass_(30)
        worker.beat(conditions=[m.ReportedCondition("DiskFull", "5 B free")])
    assert [each.message for each in admin.get(worker.id, world.now).conditions] == ["5 B free"]


def test_a_gpu_that_appears_is_given_to_what_waits_in_the_same_heartbeat(world: PlaneWorld) -> None:
    worker = agent(world, gpus=0)
    worker.beat()
    world.deploy(gpus=1)
    assert worker.types(gpu_info=m.GpuInfo(1, [m.GpuDevice(0)])) == ["deploy"]


def test_a_worker_that_is_heard_of_again_is_told_once_and_gets_what_waits(world: PlaneWorld) -> None:
    worker = agent(world)
    worker.beat()
    world.pass_(200)
    world.sweep()
    assert heartbeat_of(worker).down_since is not None
    world.deploy()
    worker.beat()
    assert heartbeat_of(worker).down_since is None
    assert worker.types() == ["deploy"], "in the next look, since placing is its last step"
    worker.beat()
    assert [line.type for line in lines(world, worker.id)].count("online") == 1


def test_a_worker_that_drains_itself_is_told_at_each_turn(world: PlaneWorld) -> None:
    worker = agent(world)
    for status in ("online", "draining", "draining", "online", "online", "draining"):
        worker.beat(status=status)
    told = [line.type for line in lines(world, worker.id)]
    assert [each for each in told if each.endswith("rained") or each == "draining"] == [
        "draining",
        "undrained",
        "draining",
    ]
