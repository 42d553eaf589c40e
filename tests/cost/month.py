"""What a control plane does in a month, counted: the real app before a real DynamoDB engine, with a fleet of that size.

    a heartbeat      one hundred idle ones of a worker with eight GPUs and four deployments; one in ten looks
    a sweep          over the whole fleet
    a deployment     from being asked for until it is deleted, and how many quick heartbeats that brings with it
    a console tab    ten minutes of looks at a fleet that is idle, and which nobody touches
    what is stored   of a worker, and of a deployment with its timeline

Only seconds are of this machine. All else is the same wherever it is run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from chalicelib.auth import tokens
from chalicelib.routes.http import CLOCK, Clock
from chalicelib.store.tables import (
    Deployment,
    Event,
    Listing,
    Operation,
    Slot,
    WorkerHeartbeat,
    WorkerName,
    WorkerRecord,
)
from chalicelib.workers.liveness import LOST_AFTER_SECONDS
from chalicelib.workers.registration import name_key
from tests.cost import function
from tests.cost.use import Use
from tests.fixtures import dynoxide
from tests.fixtures.database import DATABASE
from tests.fixtures.large_fleet import GPUS, fleet_of, raw, worker_with_history
from tests.fixtures.plane_world import PlaneWorld, Worker
from tests.fixtures.units import size_of

KEY = tokens.new_secret("key")
RUNNING = 4
BEATS, SWEEPS = 100, 3
LOOK_SECONDS = 30.0
"""Between two looks of a console that nobody touches (IDLE in chalicelib/console/poll.js)."""
LOOKS = 20
"""In ten minutes: two of them read the whole fleet again (fleet_reader.FULL_SECONDS)."""
HOUR = 3600.0
OVERHEAD = 100
"""Bytes that DynamoDB charges for each item and each entry of an index, beside what is in it."""

INDEXED = {"worker_id", "part", "deployment_id", "kind", "rank"}


@dataclass(frozen=True)
class Counted:
    """`quick`: heartbeats that a deployment brings, beside those in its `life`. Bytes of a worker and a deployment."""

    beat: Use
    sweep: Use
    life: Use
    quick: int
    look: Use
    worker_bytes: int
    life_bytes: int


@contextmanager
def fleet(size: int, **host: Any) -> Iterator[tuple[PlaneWorld, Worker]]:
    """So many workers, and the first of them; `host`: what they say of themselves. Raises dynoxide.Unavailable."""
    with dynoxide.running() as url, DATABASE.engine_at(url) as recorder:
        world = PlaneWorld(recorder, now=time.time())
        tokens.seed_admin_key(KEY, world.now)
        first = worker_with_history(world, **host)
        for _ in range(RUNNING):
            first.run(world.deploy(gpus=1))
        Agent(first, list(first.active)).beat()  # with all that it says of GPUs and disk
        fleet_of(first, size, ls={"N": str(world.now + LOST_AFTER_SECONDS)})
        yield world, first


def count(workers: int) -> Counted:
    """Raises dynoxide.Unavailable."""
    with fleet(workers) as (world, first):
        agent = Agent(first, list(first.active))
        for _ in range(3):
            agent.beat()
        beats = [agent.beat() for _ in range(BEATS)]
        function.sweep()  # the first one of a release compares the index of free capacity with every worker
        sweeps = [function.sweep() for _ in range(SWEEPS)]
        life, met, kept = _life(agent)
        quick = _beats_of_an_hour(world, deploys=True) - _beats_of_an_hour(world, deploys=False) - met
        return Counted(
            beat=sum(beats, Use()) * (1 / BEATS),
            sweep=sum(sweeps, Use()) * (1 / SWEEPS),
            life=life,
            quick=max(0, quick),
            look=_look(world, agent),
            worker_bytes=_bytes_of_worker(first),
            life_bytes=kept,
        )


@dataclass
class Agent:
    """A worker that calls in as an agent does: with its session, acknowledging what it is sent."""

    worker: Worker
    active: list[str] = field(default_factory=list)
    acks: list[str] = field(default_factory=list)
    inbox: int = 0
    sequence: int = 0

    def beat(self) -> Use:
        body = {
            "status": "online",
            "gpu_usage": [{"index": i, "memory_used": 80 * 2**30 + i, "utilization": 99} for i in range(GPUS)],
            "active_deployments": self.active,
            "session": self.worker.answer.session,
            "journal_id": "a journal",
            "inbox": self.inbox,
            "acks": self.acks,
            "disk": {"total": 10**13, "used": 10**12, "free": 9 * 10**12, "percent": 10.0},
        }
        answer, use = function.request("heartbeat", {"worker_id": self.worker.id}, self.worker.token, body)
        self.inbox, self.acks = answer["inbox"], [each["command_id"] for each in answer["commands"]]
        return use

    def report(self, deployment: Any, status: str) -> Use:
        self.sequence += 1
        ids = {"worker_id": self.worker.id, "deployment_id": deployment["deployment_id"]}
        body = {"status": status, "generation": deployment["generation"], "session": self.worker.answer.session}
        body |= {"sequence": self.sequence, "container_id": "c" * 64, "port": 20000, "message": f"it is {status}"}
        return function.request("report", ids, self.worker.token, body)[1]


def _look(world: PlaneWorld, agent: Agent) -> Use:
    """One look of a console that has been open for a while, on average."""
    tab, use = function.Tab(KEY), Use()
    before = CLOCK.set(Clock(lambda: world.now))
    try:
        for turn in range(LOOKS + 1):
            agent.beat()
            looked = tab.look()
            use += looked if turn else Use()  # the first one shows everything to somebody who has just come
            world.pass_(LOOK_SECONDS)
    finally:
        CLOCK.reset(before)
    return use * (1 / LOOKS)


def _life(agent: Agent) -> tuple[Use, int, int]:
    """Of one deployment that any worker may have; the heartbeats in it; the bytes that it stores at most."""
    before, use, deployment_id = _bytes_of(Deployment, Slot, Operation, Event), Use(), ""
    for deployment_id, step in steps(agent):  # noqa: B007  # the last one is deleted
        use += step
    kept = _bytes_of(Deployment, Slot, Operation, Event) - before
    use += function.request("delete_deployment", {"deployment_id": deployment_id}, KEY)[1]
    return use + agent.beat(), 7, kept


def steps(agent: Agent) -> Iterator[tuple[str, Use]]:
    """A deployment that any worker may have, step by step until it has ended: its id, and what the step took."""
    asked = {"model": "Qwen/Qwen3-0.6B", "gpus": 1, "selector": {}, "config": {"max_model_len": 4096}}
    agent.worker.world.now = time.time()
    deployment, use = function.request("create_deployment", {}, KEY, asked)
    assert deployment["worker_id"] == agent.worker.id, "of workers that are alike it goes to the first by name"
    deployment_id = str(deployment["deployment_id"])
    yield deployment_id, use
    yield deployment_id, agent.beat()
    assert agent.acks, "the deploy was sent"
    for status in ("downloading", "starting", "running"):
        yield deployment_id, agent.report(deployment, status)
    others = agent.active
    agent.active = [*others, deployment_id]
    yield deployment_id, agent.beat() + agent.beat()
    stopped, asked_to_stop = function.request("stop_deployment", {"deployment_id": deployment_id}, KEY)
    yield deployment_id, asked_to_stop
    yield deployment_id, agent.beat()
    for status in ("stopping", "stopped"):
        yield deployment_id, agent.report(stopped, status)
    agent.active = others
    yield deployment_id, agent.beat() + agent.beat()


def _beats_of_an_hour(world: PlaneWorld, *, deploys: bool) -> int:
    """Heartbeats of a worker that does as it is told, in virtual time; in the middle a deployment may come and go."""
    worker = world.worker(f"hour-{deploys}", machine_id=f"hour-{deploys}")
    world.pass_(HOUR)
    began, beats, deployment_id = world.now, 0, ""
    while world.now < began + HOUR:
        world.pass_(worker.beat().next_heartbeat_in)
        beats += 1
        past = world.now - began
        if deploys and not deployment_id and past > HOUR / 6:
            deployment_id = world.deploy(worker_id=worker.id, gpus=1)
        if deployment_id and not worker.active and past < HOUR / 2 and world.see(deployment_id).status == "pending":
            worker.beat()
            worker.report(deployment_id, "running", container_id="c", port=8001)
            worker.active = [deployment_id]
        if worker.active and past > HOUR / 2:
            world.stop(deployment_id)
            worker.beat()
            worker.report(deployment_id, "stopped")
            worker.active = []
    return beats


def _bytes_of_worker(worker: Worker) -> int:
    parts = [
        raw(WorkerHeartbeat, worker.id),
        raw(WorkerRecord, worker.id, "cold"),
        raw(WorkerRecord, worker.id, "seen"),
    ]
    return sum(map(_stored, [*parts, raw(WorkerName, name_key(worker.name), "name")]))


def _bytes_of(*models: Any) -> int:
    return sum(_stored(item) for model in models for item in _items(model))


def _items(model: Any) -> Iterator[dict[str, Any]]:
    start = None
    while True:
        page = model._get_connection().scan(exclusive_start_key=start)
        yield from page["Items"]
        start = page.get("LastEvaluatedKey")
        if start is None:
            return


def _stored(item: dict[str, Any]) -> int:
    """With its entry in the index of its kind, if it is in one."""
    keys = {name: value for name, value in item.items() if name in INDEXED}
    entry = size_of(keys) + OVERHEAD if Listing.kind.attr_name in item else 0
    return size_of(item) + OVERHEAD + entry
