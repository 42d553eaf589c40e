"""One reading for all viewers: what each gets since it was last here adds up to what is there."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from chalicelib.fleet.workers import ONLINE_WINDOW
from chalicelib.telemetry import snapshot
from chalicelib.telemetry.snapshot import Rows, Snapshot
from chalicelib.workers import admin
from muster.api import resources as r
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker

USAGE = [{"index": 0, "memory_used": 2**30, "utilization": 50}]


class Viewer:
    """Keeps what it was answered, as a client does."""

    def __init__(self, of: Snapshot) -> None:
        self._of = of
        self.token: str | None = None
        self.workers: dict[str, r.FleetWorker] = {}
        self.deployments: dict[str, r.Deployment] = {}
        self.last: r.Fleet

    def look(self, now: float, fresh: bool = False) -> r.Fleet:
        self.last, _ = self._of.since(r.FleetQuery(self.token, fresh), now)
        self.token = self.last.token
        if self.last.full:
            self.workers, self.deployments = {}, {}
        self.workers |= {worker.worker_id: worker for worker in self.last.workers}
        self.deployments |= {deployment.deployment_id: deployment for deployment in self.last.deployments}
        for worker_id in self.last.gone_workers:
            self.workers.pop(worker_id, None)  # it may have come and gone since
        for deployment_id in self.last.gone_deployments:
            self.deployments.pop(deployment_id, None)
        return self.last


@pytest.fixture
def shared() -> Snapshot:
    return Snapshot(5)


def test_the_first_answer_is_everything_in_the_order_of_the_lists(world: PlaneWorld, shared: Snapshot) -> None:
    for name in ("b", "a", "c"):
        world.worker(name, labels={"rack": name}).beat(gpu_usage=USAGE)
    made = []
    for name in ("z", "y"):
        world.pass_(1)
        made.append(world.deploy(gpus=0, name=name))
    found = Viewer(shared).look(world.now)
    assert found.full and [worker.name for worker in found.workers] == ["a", "b", "c"]
    assert [deployment.deployment_id for deployment in found.deployments] == made
    listed = admin.list_(r.PageQuery(), world.now).workers
    for shown, whole in zip(found.workers, listed, strict=True):
        for name in ("worker_id", "name", "status", "last_seen", "labels", "gpu_usage", "gpu_claims", "conditions"):
            assert getattr(shown, name) == getattr(whole, name), name
        assert shown.hostname == whole.system_info.hostname


def test_readers_within_some_seconds_share_one_reading(world: PlaneWorld, shared: Snapshot) -> None:
    world.worker()
    viewers = [Viewer(shared) for _ in range(3)]
    viewers[0].look(world.now)
    world.pass_(4.9)
    with world.database.counting() as calls:
        for viewer in viewers:
            viewer.look(world.now)
        shared.fleet(world.now)
    assert calls == []
    assert shared.since(r.FleetQuery(), world.now)[1] == pytest.approx(4.9)
    world.pass_(0.1)
    with world.database.counting() as calls:
        viewers[1].look(world.now)
    assert calls != [] and shared.since(r.FleetQuery(), world.now)[1] == 0


def test_who_wants_it_fresh_sees_what_was_just_done(world: PlaneWorld, shared: Snapshot) -> None:
    worker = world.worker()
    viewer = Viewer(shared)
    viewer.look(world.now)
    admin.patch(worker.id, r.WorkerPatch(draining=True), ADMIN, world.now)
    assert viewer.look(world.now).workers == []
    assert viewer.look(world.now, fresh=True).workers[0].status == "draining"


def test_a_heartbeat_that_says_the_same_is_no_change_and_the_answer_is_the_same_byte_for_byte(
    world: PlaneWorld, shared: Snapshot
) -> None:
    worker = world.worker()
    deployment_id = world.deploy(gpus=1)
    worker.run(deployment_id)
    worker.beat(gpu_usage=USAGE)
    viewer = Viewer(shared)
    viewer.look(world.now)
    bodies = set()
    for _ in range(3):
        world.pass_(30)
        worker.beat(gpu_usage=USAGE)
        bodies.add(msgspec.json.encode(viewer.look(world.now)))
        assert (viewer.last.full, viewer.last.workers, viewer.last.deployments) == (False, [], [])
    assert len(bodies) == 1
    worker.beat(gpu_usage=[])
    world.pass_(6)
    assert [changed.gpu_usage for changed in viewer.look(world.now).workers] == [[]]


def test_a_worker_that_falls_silent_is_a_change_with_the_time_it_was_last_heard_of(
    world: PlaneWorld, shared: Snapshot
) -> None:
    worker = world.worker()
    deployment_id = world.deploy(gpus=1)
    worker.run(deployment_id)
    viewer = Viewer(shared)
    viewer.look(world.now)
    world.pass_(30)
    worker.beat()
    viewer.look(world.now)
    world.pass_(ONLINE_WINDOW + 10)
    silent = viewer.look(world.now)
    heard = admin.get(worker.id, world.now).last_seen
    assert [(worker.status, worker.last_seen) for worker in silent.workers] == [("offline", heard)]
    assert [(made.reachable, made.status_as_of) for made in silent.deployments] == [(False, heard)]


def test_a_shared_answer_has_no_secret_and_no_log(world: PlaneWorld, shared: Snapshot) -> None:
    worker = world.worker()
    deployment_id = world.deploy(gpus=1, env={"HF_TOKEN": "hf_secret"})
    worker.beat()
    worker.report(deployment_id, "error", error_code="CRASHED", message="it crashed", logs="a log of hf_secret")
    [shown] = Viewer(shared).look(world.now).deployments
    assert shown.last_crash is not None and (shown.last_crash.error_code, shown.last_crash.logs) == ("CRASHED", "")
    body = msgspec.json.encode(Viewer(shared).look(world.now)).decode()
    assert "hf_secret" not in body and "api_key" not in body and str(world.see(deployment_id).api_key) not in body


@pytest.mark.parametrize("token", ["", "x", "x.1", ".1", "{process}.-1", "{process}.x", "{process}.99", "{process}.²"])
def test_a_token_that_is_not_of_this_process_is_answered_in_full(
    world: PlaneWorld, shared: Snapshot, token: str
) -> None:
    world.worker()
    process = Viewer(shared).look(world.now).token.partition(".")[0]
    assert shared.since(r.FleetQuery(token.format(process=process)), world.now)[0].full


def test_two_processes_answer_each_others_viewers_in_full(world: PlaneWorld) -> None:
    world.worker()
    one, other = Snapshot(5), Snapshot(5)
    token = one.since(r.FleetQuery(), world.now)[0].token
    assert other.since(r.FleetQuery(token), world.now)[0].full
    assert not one.since(r.FleetQuery(token), world.now)[0].full


def test_whatever_happens_what_viewers_have_is_what_is_there(world: PlaneWorld, shared: Snapshot) -> None:
    """Viewers who come often and seldom, over changes at random."""
    chance = random.Random(7)
    workers: list[Worker] = [world.worker(f"gpu-{number}", gpus=4) for number in range(4)]
    viewers = [Viewer(shared) for _ in range(3)]
    for turn in range(120):
        world.pass_(chance.choice([1, 6, 40]))
        worker = chance.choice(workers)
        act = chance.randrange(6)
        if act == 0:
            worker.beat(gpu_usage=[{"index": 0, "memory_used": chance.randrange(3)}])
        elif act == 1 and turn < 100:
            world.deploy(gpus=chance.randrange(2))
        elif act == 2:
            for command in worker.beat().commands:
                made = msgspec.to_builtins(command)
                if made["type"] == "deploy":
                    worker.report(made["deployment_id"], "running", container_id="c", port=8001)
                    worker.active.append(made["deployment_id"])
        elif act == 3 and worker.active:
            world.stop(worker.active[0])
        elif act == 4:
            admin.patch(worker.id, r.WorkerPatch(labels={"turn": str(turn)}), ADMIN, world.now)
        elif act == 5 and len(workers) > 2:
            workers.remove(worker)
            admin.remove(worker.id, True, "key admin", world.now)
            workers.append(world.worker(f"later-{turn}", gpus=4))
        chance.choice(viewers).look(world.now)
    there = Viewer(Snapshot(5))
    there.look(world.now)
    for viewer in viewers:
        viewer.look(world.now, fresh=True)
        assert steady(viewer) == steady(there)


def steady(viewer: Viewer) -> Any:
    """Without the times that a heartbeat alone moves."""
    workers = {i: msgspec.structs.replace(w, last_seen=None) for i, w in viewer.workers.items()}
    return workers, {i: msgspec.structs.replace(d, status_as_of=None) for i, d in viewer.deployments.items()}


def test_who_was_away_for_more_than_is_remembered_gets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MAX_GONE", 2)
    rows = Rows[Any](lambda one, other: bool(one == other))
    rows.replace([(str(number), number) for number in range(4)], 1)
    assert rows.replace([("3", 3)], 2) and rows.forgotten == 2 and len(rows.gone_since(1)) == 2
    assert not rows.replace([("3", 3)], 3)
    assert (rows.since(2), rows.gone_since(2)) == ([], [])
    assert rows.replace([("2", 2), ("3", 3)], 3) and rows.since(2) == [2] and "2" not in rows.gone_since(0)
