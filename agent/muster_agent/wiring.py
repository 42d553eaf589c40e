"""Everybody who works for one worker id: made when it is known, let go when that ends."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import msgspec

from muster.api.messages import Disk
from muster_agent.backends.policy import HostPolicy
from muster_agent.conditions import Conditions
from muster_agent.control.cursor import InboxCursor
from muster_agent.control.lease import Lease
from muster_agent.engines.base import Engine, EngineError
from muster_agent.gpus.devices import Devices
from muster_agent.host.boot_id import HostRun
from muster_agent.host.clocks import Moment
from muster_agent.logs.archive import Archive
from muster_agent.logs.redaction import Secrets
from muster_agent.operations.executor import Operations
from muster_agent.operations.handlers import Handlers
from muster_agent.runner.instances import InstanceCache
from muster_agent.runner.listening import Listening
from muster_agent.runner.manager import DeploymentManager, Spawn, spawn_thread
from muster_agent.runner.poller import Poller
from muster_agent.runner.preflight import HostProbe, Preflight
from muster_agent.runner.probes import HttpProbe, Probe
from muster_agent.runner.pulls import PAUSES, Pulls
from muster_agent.runner.reconciler import Tools
from muster_agent.runner.starter import FreePort, Starter
from muster_agent.runner.startup import StartupObserver
from muster_agent.state.db import Database
from muster_agent.state.deployments import DeploymentsTable
from muster_agent.state.dir import StateError
from muster_agent.state.membership import past_workers
from muster_agent.state.operations import OperationsTable
from muster_agent.state.outbox import Outbox

log = logging.getLogger(__name__)

FIRST_LOOK = 5.0
"""Seconds that the first heartbeat waits for the engine's list at most."""


@dataclass(frozen=True)
class HostConfig:
    """What the crew works on: the engine and the owner's settings. `host_env` may hold secrets.

    `clock` is epoch seconds, for display and for the wire. Durations are measured by `monotonic`, leases and deadlines
    by `boottime` within the boot `boot_id` (agent/muster_agent/host/clocks.py).
    """

    engine: Engine
    policy: HostPolicy
    listening: Listening
    host_env: Mapping[str, str] = field(repr=False)
    state_dir: Path
    free_port: FreePort
    disk: Callable[[], Disk]
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    boottime: Callable[[], float]
    boot_id: Callable[[], str]
    conditions: Conditions
    probe: Probe = field(default_factory=HttpProbe)
    host_probe: HostProbe = field(default_factory=HostProbe)
    devices: Devices = field(default_factory=Devices)
    run: Callable[[], str] = field(default_factory=HostRun)
    spawn: Spawn = spawn_thread
    pull_pauses: Sequence[float] = PAUSES

    def moment(self) -> Moment:
        return Moment(self.clock(), self.boottime(), self.boot_id())


@dataclass(frozen=True)
class Journal:
    """The journal's parts."""

    database: Database
    outbox: Outbox
    deployments_table: DeploymentsTable
    operations_table: OperationsTable
    lease: Lease
    inbox: InboxCursor

    @classmethod
    def of(cls, database: Database) -> Journal:
        outbox = Outbox(database)
        deployments_table, operations_table = DeploymentsTable(database, outbox), OperationsTable(database, outbox)
        return cls(database, outbox, deployments_table, operations_table, Lease(database), InboxCursor(database))

    @classmethod
    def checked(cls, database: Database) -> Journal:
        """The parts of a journal after everything in it was read once; if that fails, of a new journal.

        SQLite does not notice every damaged page. Raises StateError.
        """
        try:
            journal = cls.of(database)
            journal.deployments_table.all()
            journal.operations_table.all()
            journal.outbox.all()
        except (StateError, sqlite3.DatabaseError, msgspec.MsgspecError, ValueError, TypeError) as error:
            database.begin_anew(f"it holds something else: {error.__cause__ or error}"[:300])
            return cls.of(database)
        return journal


@dataclass(frozen=True)
class Runtime:
    worker_id: str
    instance_cache: InstanceCache
    manager: DeploymentManager
    operations: Operations
    poller: Poller

    @classmethod
    def build(cls, worker_id: str, host: HostConfig, journal: Journal) -> Runtime:
        """Build the parts of an agent that act as worker `worker_id`; none of them runs yet (see `resume`)."""
        past = past_workers(journal.database)
        instance_cache = InstanceCache(host.engine, host.monotonic)
        pulls = Pulls(host.engine, journal.operations_table, instance_cache, host.monotonic, host.pull_pauses)
        archive = Archive(journal.database, host.state_dir / "logs")
        secrets = Secrets(lambda: [each.command for each in journal.deployments_table.all()], host.host_env)
        tools = Tools(
            engine=host.engine,
            instance_cache=instance_cache,
            deployments_table=journal.deployments_table,
            archive=archive,
            pulls=pulls,
            starter=Starter(
                engine=host.engine,
                instance_cache=instance_cache,
                policy=host.policy,
                preflight=Preflight(host.policy, host.host_probe),
                worker_id=worker_id,
                listening=host.listening,
                host_env=host.host_env,
                free_port=host.free_port,
            ),
            startup_observer=StartupObserver(host.engine, host.policy.hub_cache, host.host_probe.gpus),
            probe=host.probe,
            worker_id=worker_id,
            past_workers=past,
            clock=host.clock,
            monotonic=host.monotonic,
            may_start=lambda: journal.lease.may_start(host.moment()),
            host_run=host.run,
            boot_id=host.boot_id,
            secrets=secrets,
        )
        manager = DeploymentManager(tools, host.spawn)
        handlers = Handlers(
            engine=host.engine,
            instance_cache=instance_cache,
            manager=manager,
            archive=archive,
            pulls=pulls,
            operations_table=journal.operations_table,
            worker_id=worker_id,
            past_workers=past,
            policy=host.policy,
            devices=host.devices,
            disk=host.disk,
            clock=host.clock,
            secrets=secrets,
        )
        operations = Operations(handlers, journal.operations_table, host.boottime, host.boot_id(), host.spawn)
        poller = Poller(instance_cache, manager, host.listening, host.conditions, host.monotonic)
        return cls(worker_id, instance_cache, manager, operations, poller)

    def look(self, spawn: Spawn, patience: float = FIRST_LOOK) -> None:
        """Once before the first heartbeat: an agent without its journal would say that nothing runs where models do.

        An engine that hangs holds that heartbeat up for `patience` seconds at most.
        """
        returned = Event()

        def look() -> None:
            try:
                self.instance_cache.instances()
            except (EngineError, OSError) as error:
                log.warning("the engine does not answer yet, so the journal says what runs: %s", error)
            finally:
                returned.set()

        spawn("first look", look)
        if not returned.wait(patience):
            log.warning("the engine does not answer within %.0f s, so the journal says what runs", patience)

    def resume(self, spawn: Spawn) -> None:
        """Go on where the journal says that the agent was."""
        spawn("watch", self.poller.run)
        self.manager.resume()
        self.operations.resume()

    def close(self) -> None:
        """What runs goes on running."""
        self.poller.close()
        self.operations.close()
        self.manager.close()
