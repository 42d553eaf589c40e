"""The parts of an agent that act for one worker id: built when the id is known, closed when the agent leaves it."""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass
from threading import Event

import msgspec

from muster_agent.control.cursor import InboxCursor
from muster_agent.control.lease import Lease
from muster_agent.engines.base import EngineError
from muster_agent.logs.archive import Archive
from muster_agent.logs.redaction import Secrets
from muster_agent.operations.executor import Operations
from muster_agent.operations.handlers import Handlers
from muster_agent.runner.context import HostConfig, WorkerContext
from muster_agent.runner.instances import InstanceCache
from muster_agent.runner.manager import DeploymentManager
from muster_agent.runner.poller import Poller
from muster_agent.runner.pulls import Pulls
from muster_agent.runner.threads import Spawn
from muster_agent.state.db import Database
from muster_agent.state.deployments import DeploymentsTable
from muster_agent.state.dir import StateError
from muster_agent.state.membership import past_workers
from muster_agent.state.operations import OperationsTable
from muster_agent.state.outbox import Outbox

log = logging.getLogger(__name__)

FIRST_LISTING_SECONDS = 5.0
"""Seconds that the first heartbeat waits for the engine's list at most."""


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
    """The parts of an agent that act as one worker."""

    context: WorkerContext
    manager: DeploymentManager
    operations: Operations
    poller: Poller

    @classmethod
    def build(cls, worker_id: str, host: HostConfig, journal: Journal) -> Runtime:
        """Build the parts of an agent that act as worker `worker_id`; none of them runs yet (see `resume`)."""
        context = _context(worker_id, host, journal)
        manager = DeploymentManager(context)
        operations = Operations(context, Handlers(context, manager))
        return cls(context, manager, operations, Poller(context, manager))

    def list_instances(self, spawn: Spawn, patience: float = FIRST_LISTING_SECONDS) -> None:
        """Once before the first heartbeat: an agent without its journal would say that nothing runs where models do.

        An engine that hangs holds that heartbeat up for `patience` seconds at most.
        """
        returned = Event()

        def list_once() -> None:
            try:
                self.context.instance_cache.instances()
            except (EngineError, OSError) as error:
                log.warning("the engine does not answer yet, so the journal says what runs: %s", error)
            finally:
                returned.set()

        spawn("first look", list_once)
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


def _context(worker_id: str, host: HostConfig, journal: Journal) -> WorkerContext:
    instance_cache = InstanceCache(host.engine, host.clocks.monotonic)
    return WorkerContext(
        host=host,
        worker_id=worker_id,
        past_workers=past_workers(journal.database),
        deployments_table=journal.deployments_table,
        operations_table=journal.operations_table,
        instance_cache=instance_cache,
        archive=Archive(journal.database, host.state_dir / "logs"),
        pulls=Pulls(host.engine, journal.operations_table, instance_cache, host.clocks.monotonic, host.pull_pauses),
        secrets=Secrets(lambda: [record.command for record in journal.deployments_table.all()], host.host_env),
        may_start=lambda: journal.lease.may_start(host.clocks.moment()),
    )
