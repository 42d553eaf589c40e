"""Machines with an agent: the real one, over an engine in memory and a journal on a disk that outlives a crash.

A crash may come at any write of the journal and at any call of the engine, before it or after it; from then on nothing
that the dead process still tries has an effect.
"""

from __future__ import annotations

import contextlib
import copy
import shutil
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import NamedTuple, TypeVar

from muster.api.messages import GpuDevice, GpuInfo, Progress, Pruned, Pulled, Registration, SystemInfo
from muster_agent.engines.base import EngineError, Instance, RunSpec
from muster_agent.gpus.gpu_usage import Gpu
from muster_agent.heartbeat import RegistrationRejected
from muster_agent.runner.failures import HUNG_GRACE_SECONDS
from muster_agent.state.db import Database, JournalFull
from muster_agent.wiring import FIRST_LISTING_SECONDS
from tests.fixtures.agent_world import GIB, AgentWorld, Probes
from tests.fixtures.memory_engine import MemoryEngine
from tests.simulation.cloud import Line, Network
from tests.simulation.faults import Faults
from tests.simulation.outages import Disk, EngineOutage

T = TypeVar("T")
GPUS = 2
RACK, RACKS = "rack", ("a", "b")
"""A label that every host has."""
SETTINGS = ("seed", "max_model_len")
"""What operators set in a `config`."""
ANOTHER_WORKER = "another-worker-of-this-host"


class Running(NamedTuple):
    """A container of a deployment: on which worker, and as what it was started."""

    worker_id: str
    generation: int
    config: dict[str, int]
    gpus: tuple[int, ...]


class Crashed(BaseException):
    """The agent's process ended here; nothing in it may catch this."""


class Mortal:
    """One life of an agent's process."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.dead = False

    def may_die(self, at: str, chance: float = 0.02) -> None:
        if not self.dead and self._faults.strikes(f"agent crashed at {at}", chance):
            self.dead = True
        self.need_life()

    def need_life(self) -> None:
        if self.dead:
            raise Crashed


class MortalDatabase(Database):
    def __init__(self, path: Path, mortal: Mortal, disk: Disk) -> None:
        self._mortal, self._disk = mortal, disk
        super().__init__(path, disk)
        # Nobody else opens it, and no crash here is one of the machine: an eighth of the time is saved.
        self.connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        self.connection.execute("PRAGMA journal_mode = MEMORY")

    def _transaction(self, change: Callable[[sqlite3.Connection], T]) -> T:
        self._mortal.may_die("a journal write", 0.004)
        try:
            self._disk.need_room()
        except JournalFull as error:
            self.trouble = str(error)
            raise
        result = super()._transaction(change)
        self._mortal.may_die("a journaled write", 0.004)
        return result

    def find_trouble(self) -> str | None:
        return self._disk.seen() or super().find_trouble()


class SlowModels(Probes):
    """The servers of models that are all healthy, and take their time.

    One that loads has a new line in its log every few minutes. One that is busy answers no probe for less than an agent
    has to wait before it may call that hung, and answers the next one after that.
    """

    LINE_EVERY, BUSY_FOR = 240.0, 25.0

    def __init__(self, ready: set[str], engine: MemoryEngine, faults: Faults) -> None:
        super().__init__(ready)
        self._engine, self._faults = engine, faults
        self._wrote_at: dict[str, float] = {}
        self._busy_until: dict[int, float] = {}
        self._owes_answer: set[int] = set()

    def is_ready(self, bind: str, port: int, model: str, api_key: str | None) -> bool:
        if not self._faults.strikes("model still loads", 0.6):
            return True
        for each in self._engine.all.values():
            if each.port == port and each.state == "running":
                self._write(each)
        return False

    def is_alive(self, bind: str, port: int) -> bool:
        if self._faults.bad and self._faults.now < self._busy_until.get(port, 0.0):
            return False
        if port not in self._owes_answer and self._faults.strikes("model busy", 0.3):
            self._busy_until[port] = self._faults.now + self.BUSY_FOR
            self._owes_answer.add(port)
            return False
        self._owes_answer.discard(port)
        return True

    def _write(self, instance: Instance) -> None:
        now = self._faults.now
        if now - self._wrote_at.get(instance.id, float("-inf")) >= self.LINE_EVERY:
            self._wrote_at[instance.id] = now
            self._engine.say(instance.id, f"Loading the weights since {now:.0f}")


class HostEngine(MemoryEngine):
    """Outlives the agents. `started` is what each instance is, `ended` the instances that an agent stopped, `put_down`
    those that it stopped because they seemed to hang, `died` the deployments of which one ended by itself.

    `unjournaled` counts the calls that were made while nothing could be journaled: those may come twice.
    """

    outage: EngineOutage

    def outlive(self, mortal: Mortal, faults: Faults, who: str) -> None:
        self._mortal, self._faults, self._who = mortal, faults, who

    def count_from(self, number: int) -> None:
        """No two hosts have containers of one id."""
        self._count = number

    def shared(self) -> HostEngine:
        """The same host, as another agent on it calls it."""
        return copy.copy(self)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.started: dict[str, RunSpec] = {}
        self.ended: list[str] = []
        self.put_down: list[str] = []
        self.touched_others: list[str] = []
        self.died: set[str] = set()
        self.unjournaled: Counter[str] = Counter()
        self.works_for: Callable[[], str | None] = lambda: None
        self.wait: Callable[[], None] = lambda: None
        self.is_unjournaled: Callable[[], bool] = lambda: False

    def die(self, instance_id: str, exit_code: int, log: str = "") -> None:
        self.died.add(str(self.all[instance_id].deployment_id))
        super().die(instance_id, exit_code, log)

    def _need_answer(self) -> None:
        self.outage.need_answer(self.wait)

    def _answer(self) -> None:
        """What was called has taken effect."""
        self.outage.may_lose_answer(self.wait)

    def start(self, spec: RunSpec) -> Instance:
        self._mortal.may_die("a start")
        before = set(self.all)
        instance = super().start(spec)
        self.started.setdefault(instance.id, spec)
        if instance.id not in before:
            self._faults.happened["container started"] += 1
            self._faults.note(f"{self._who} started {instance.name} on GPUs {list(spec.gpus)}")
        self._mortal.may_die("a started container")
        self._answer()
        return instance

    def stop(self, instance_id: str, grace: float) -> None:
        self._mortal.may_die("a stop")
        self._need_answer()
        instance = self.all.get(instance_id)
        if instance is not None and instance.state == "running":
            self.ended.append(instance_id)
            if grace == HUNG_GRACE_SECONDS:
                self.put_down.append(instance.name)
            if instance.worker_id != self.works_for():
                self.touched_others.append(instance.name)
            self._faults.note(f"{self._who} stopped {instance.name}")
        died_before = set(self.died)
        super().stop(instance_id, grace)
        self.died &= died_before
        self._mortal.may_die("a stopped container")
        self._answer()

    def remove(self, instance_id: str) -> None:
        self._mortal.may_die("a removal", 0.04)
        super().remove(instance_id)
        self._mortal.may_die("a removed container", 0.04)
        self._answer()

    def pull(self, reference: str, on_progress: Callable[[Progress], None], cancelled: Event) -> Pulled:
        self._mortal.may_die("a pull")
        pulled = super().pull(reference, on_progress, cancelled)
        self._mortal.may_die("a pulled image")
        return pulled

    def delete_image(self, reference: str, force: bool) -> list[str]:
        self._mortal.may_die("an image's deletion")
        self._need_answer()
        self.calls.append(f"delete_image {reference}")
        self.unjournaled[f"delete_image {reference}"] += self.is_unjournaled()
        deleted = super().delete_image(reference, force)
        self._mortal.may_die("a deleted image")
        self._answer()
        return deleted

    def prune(self, *, images: frozenset[str], containers: bool, volumes: bool, dry_run: bool) -> Pruned:
        self._mortal.may_die("a prune")
        self._need_answer()
        self.unjournaled["prune"] += self.is_unjournaled()
        pruned = super().prune(images=images, containers=containers, volumes=volumes, dry_run=dry_run)
        self._mortal.may_die("a pruned host")
        return pruned


class Host(AgentWorld):
    """A machine with an agent, and on it somebody else's container and another worker's. `skew`: its clock is wrong."""

    engine: HostEngine

    def __init__(
        self,
        folder: Path,
        name: str,
        network: Network,
        faults: Faults,
        token: str,
        machine: str | None = None,
        neighbour: Host | None = None,
    ) -> None:
        super().__init__(folder)
        self.name, self.machine, self.token = name, machine or name, token
        self.faults = faults
        self.skew = faults.random.choice([0.0, -3 * 86400.0, 3600.0])
        self.labels = {RACK: faults.random.choice(RACKS)}
        self.came_up(faults.now - 5_000.0)
        self.server = Line(network, self.machine)
        self.disk = Disk(faults)
        self.engine = neighbour.engine.shared() if neighbour else HostEngine()
        if neighbour is None:
            self.engine.outage = EngineOutage(faults)
        self.engine.wait, self.engine.is_unjournaled = self._hang, lambda: self.disk.kind is not None
        self._network, self._in_heartbeat = network, False
        self.pull_pauses = (0.0, 0.0)
        self.probe = SlowModels({"org/model"}, self.engine, faults)
        self.engine.works_for = lambda: self.worker_id
        self.engine.count_from(zlib.crc32(self.machine.encode()) % 10_000 * 1000)
        self.engine.available |= {f"image:{n}" for n in range(200)}
        # Two agents on one machine have the GPUs of that machine between them.
        self.gpus = [Gpu(index, 80 * GIB, GIB, uuid=f"{self.machine}-{name}-{index}") for index in range(GPUS)]
        self._tell_gpus(gone=frozenset())
        strangers = [
            Instance("stranger", "somebody-elses", "db", "running"),
            Instance("another's", "muster-theirs-g1", "image:0", "running", ANOTHER_WORKER, "theirs", 1, port=20001),
        ]
        self.strangers = {each.id: self.engine.add(each) for each in strangers}
        self.up = self.is_ephemeral = False
        self.hostname = ""
        self.journaled_boots: list[str] = []
        self.last_worker_id: str | None = None
        self.lost_registration, self.ends = False, 0
        self.speaks_for: str | None = None

    def came_up(self, now: float) -> None:
        """The machine booted."""
        self.booted_at = now
        self.boot_id = self.run = f"{self.machine}'s run of {now}"

    # What becomes of its GPUs

    def lose_gpu(self, index: int, gone: bool) -> None:
        """It falls off the bus, or is not even listed any more."""
        self.gpus[index] = replace(self.gpus[index], lost="GPU is lost")
        self._tell_gpus(frozenset({index} if gone else ()))

    def repair_gpus(self) -> None:
        self.gpus = [replace(each, lost=None) for each in self.gpus]
        self._tell_gpus(gone=frozenset())

    @property
    def lost_gpus(self) -> list[int]:
        return [each.index for each in self.gpus if each.lost]

    def _tell_gpus(self, gone: frozenset[int]) -> None:
        there = [each for each in self.gpus if each.index not in gone]
        devices = [GpuDevice(each.index, uuid=each.uuid, lost=each.lost is not None) for each in there]
        self.inventory = GpuInfo(len(devices), devices)

    def set_clock(self, now: float) -> None:
        self.clock.now = now + self.skew
        self.clock.awake = self.clock.uptime = now - self.booted_at

    def start_agent(self) -> None:
        self.mortal = Mortal(self.faults)
        self.engine.outlive(self.mortal, self.faults, self.machine)
        self.up = True
        self.faults.note(f"{self.machine} starts its agent")
        self._heartbeat(lambda: self.boot(self.token))

    def _heartbeat(self, act: Callable[[], object]) -> None:
        """What the thread of the heartbeat does."""
        self._in_heartbeat = True
        self.attempt(act)
        self._in_heartbeat = False

    def _hang(self) -> None:
        """A call of the engine that does not return: heartbeats go on, unless it is theirs, which waits no longer."""
        mortal = self.mortal
        if self._in_heartbeat:
            self._network.pass_time(FIRST_LISTING_SECONDS)
        else:
            for _ in range(2):
                self._network.pass_time(15.0)
                if self.up and not self.parked:
                    self.call_in()
        mortal.need_life()

    def attempt(self, act: Callable[[], object]) -> None:
        """Something that the agent does; where it crashes in the middle, it is gone."""
        try:
            act()
        except Crashed:
            self.faults.note(f"{self.machine} crashed")
            self.end_agent()
        except EngineError as error:
            self.faults.note(f"{self.machine} tries that again: {error.message}")
        except RegistrationRejected as refused:
            self.faults.note(f"{self.machine} is not taken, and ends: {refused}")
            self.end_agent()

    def end_agent(self, wipe: bool = False) -> None:
        """kill -9; `wipe` takes its disk too. The containers stay."""
        self.mortal.dead = True
        if not self.up:
            return
        self.ends += 1
        with contextlib.suppress(AttributeError, sqlite3.Error):  # it may have died before it had opened the journal
            self.lost_registration |= not self._is_journaled
        with contextlib.suppress(AttributeError):
            self.database.close()
        with contextlib.suppress(AttributeError, OSError):
            self.state.close()
        self.up = False
        if wipe:
            self.lost_registration |= self._network.holds_registration(self.machine)
            shutil.rmtree(self.folder / "state", ignore_errors=True)
            self.journaled_boots.clear()
            self.disk.end()

    def clone(self, folder: Path, network: Network, machine: str) -> Host:
        """Another machine, made from a copy of this one's disk while the agent ran."""
        folder.mkdir(parents=True)
        shutil.copytree(self.folder / "state", folder / "state")
        made = Host(folder, self.name, network, self.faults, self.token, machine)
        made.hostname, made.labels = self.hostname or self.machine, self.labels
        made.journaled_boots, made.ends = list(self.journaled_boots), self.ends
        return made

    def restart_parked(self) -> None:
        """A supervisor starts it again and again: it stays quiet."""
        said = len(self.server.requests)
        self.end_agent()
        self.start_agent()
        if not self.up:
            return
        if not self.parked:
            raise AssertionError(f"{self.machine} was parked, and has forgotten it")
        self.attempt(lambda: self.agent.tick(self.host.clocks.moment()))
        self.attempt(self.reporter.step)
        if len(self.server.requests) != said:
            raise AssertionError(f"{self.machine} is parked, and speaks")

    def look(self) -> None:
        """Read its disk once an instant: whom it works for now, and the last that an operator may have read."""
        worker_id = self.worker_id
        self.speaks_for = None if self.parked else worker_id
        self.last_worker_id = worker_id or self.last_worker_id

    @property
    def parked(self) -> bool:
        return self.up and self.state.parked is not None

    @property
    def worker_id(self) -> str | None:
        """Also where the disk had no room to write it down."""
        if not self.up:
            return None
        return self.agent.identity.worker_id if self.agent.identity else self.database.meta("worker_id")

    # What its threads do, one thing at a time

    def call_in(self) -> None:
        """A heartbeat."""
        self._heartbeat(lambda: self.agent.tick(self.host.clocks.moment()))

    def report(self) -> None:
        """The next of its reports."""
        self.attempt(self.reporter.step)

    def work(self) -> None:
        """One step of one thread."""
        runtime = self.agent.runtime
        if runtime is None:
            return
        steps: list[Callable[[], object]] = [runtime.poller.step, runtime.operations.run_all, self.reporter.step]
        steps += [lambda each=each: each.step(self.clock.monotonic()) for each in runtime.manager.runners.values()]  # type: ignore[misc]
        self.attempt(self.faults.random.choice(steps))

    def work_through(self) -> None:
        """Everything that there is to do, once."""
        runtime = self.agent.runtime
        if runtime is None:
            return
        self.attempt(runtime.poller.step)
        self.look_after_deployments()
        self.attempt(runtime.operations.run_all)
        self.attempt(self.deliver)

    def engine_was_looked_at_long_ago(self) -> None:
        """So that the next step sees what there is."""
        if self.up and self.agent.runtime:
            self.agent.runtime.context.instance_cache.changed()

    def look_after_deployments(self) -> None:
        """A step of each deployment."""
        runtime = self.agent.runtime if self.up else None
        for runner in list(runtime.manager.runners.values()) if runtime else []:
            if self.up:
                self.attempt(lambda runner=runner: runner.step(self.clock.monotonic()))  # type: ignore[misc]

    def deliver(self) -> None:
        while self.journal.outbox.first() is not None and self.reporter.step() == 0.0:
            pass

    # Looking

    @property
    def _is_journaled(self) -> bool:
        """Whether the next start will know who this one was."""
        identity = self.agent.identity
        return identity is None or self.database.meta("token") == identity.token

    def running(self) -> list[Instance]:
        """Muster's containers that run here, whichever worker started them, but for the one that was always there."""
        live = (each for each in self.engine.all.values() if each.state == "running" and each.deployment_id)
        return [each for each in live if each.id not in self.strangers]

    def what_runs(self, instance: Instance) -> Running:
        given = self.engine.started[instance.id].arguments
        settings = {name: f"--{name.replace('_', '-')}" for name in SETTINGS}
        config = {name: int(given[given.index(flag) + 1]) for name, flag in settings.items() if flag in given}
        return Running(str(instance.worker_id), int(instance.generation or 0), config, self.gpus_of(instance))

    def gpus_of(self, instance: Instance) -> tuple[int, ...]:
        return self.engine.started[instance.id].gpus

    def devices_of(self, instance: Instance) -> tuple[str, ...]:
        """The same by UUID: agents on one machine count their own GPUs."""
        return self.engine.started[instance.id].devices

    def _database(self) -> Database:
        return MortalDatabase(self.state.path / "journal", self.mortal, self.disk)

    def _registration(self, token: str) -> Registration:
        boot_id, past = f"{self.machine}-boot-{self.boots}", self.journaled_boots[:8]
        if self.disk.kind is None:
            self.journaled_boots.insert(0, boot_id)
        return Registration(
            name=self.name,
            token=token,
            gpu_info=GpuInfo(0),  # the inventory takes its place
            system_info=SystemInfo(self.hostname or self.machine),
            labels=self.labels,
            boot_id=boot_id,
            past_boot_ids=past or None,
        )
