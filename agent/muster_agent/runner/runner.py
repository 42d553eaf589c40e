"""One deployment's thread: takes the latest intent, steps its life, waits. Nobody else acts on the deployment."""

from __future__ import annotations

import logging
from collections.abc import Collection
from threading import Event, Lock

from muster.api.lifecycle import Status
from muster.api.messages import Deploy
from muster_agent.engines.base import Cancelled, EngineError
from muster_agent.runner.context import WorkerContext
from muster_agent.runner.reconciler import Reconciler
from muster_agent.runner.starter import Starter
from muster_agent.state.deployments import Record
from muster_agent.state.dir import StateError

log = logging.getLogger(__name__)

STEP_RETRY_SECONDS = 5.0


class DeploymentRunner:
    """`step` and `run` belong to its own thread (or a test); the rest may be called from any."""

    def __init__(self, record: Record, context: WorkerContext, starter: Starter) -> None:
        self._context = context
        self._starter = starter
        self._reconciler = Reconciler(record, context, starter)
        self._lock = Lock()
        self._submitted: Record | None = None
        self._wake = Event()
        self._closed = False
        self._has_thread = False
        # After a restart the control plane hears how things are, even where nothing has changed.
        self._owes_report = True
        self._trouble: str | None = None

    @property
    def record(self) -> Record:
        return self._reconciler.record

    @property
    def coming_up(self) -> bool:
        """Whether an instance is being started, if it is not there yet: also one that ran before its host rebooted."""
        return self.is_expected and self.record.status in (Status.STARTING, Status.RUNNING)

    @property
    def is_expected(self) -> bool:
        """Whether it runs, or is started here without being told again."""
        return isinstance(self.record.command, Deploy) and not self.record.at_rest

    @property
    def is_on_its_way(self) -> bool:
        """Whether there is something to do for it: it neither runs as it shall, nor is at rest."""
        record = self.record
        runs = record.status is Status.RUNNING and record.container_id is not None
        return not record.at_rest and not (isinstance(record.command, Deploy) and runs)

    def next_start_in(self, generation: int | None) -> int | None:
        """Seconds until the next start; None for another generation than it is at."""
        reconciler = self._reconciler
        return reconciler.next_start_in() if reconciler.record.command.generation == generation else None

    def submit(self, record: Record) -> None:
        """Take the intent of `record` next, as the journal has it. The same again means: report how it is."""
        with self._lock:
            self._submitted = record
            if record.command.generation > self.record.command.generation:
                self._reconciler.cancel()
        self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    def misses(self, running: Collection[str]) -> bool:
        return self._reconciler.misses(running)

    def expect_end(self, instance_id: str) -> None:
        self._reconciler.expect_end(instance_id)

    def close(self) -> None:
        """Let go of it: the instance stays as it is, and nothing is started any more."""
        with self._lock:
            self._closed = True
            self._reconciler.cancel()
        self._wake.set()

    def take_thread(self) -> bool:
        """Whether the caller should give it a thread to `run` in; it has one at most."""
        with self._lock:
            free, self._has_thread = not self._has_thread, True
        return free

    def run(self) -> None:
        """Step and wait, until there is nothing to do or it is closed."""
        while not self._closed:
            try:
                delay = self.step(self._context.host.clocks.monotonic())
            except StateError as error:
                # The next heartbeat finds it too, and the agent begins a new journal.
                self._note_trouble(str(error))
                delay = STEP_RETRY_SECONDS
            except Exception:
                # Whatever it is, the deployment is tried again, and the others go on.
                log.exception("deployment %s: this step failed and is taken again", self.record.deployment_id)
                delay = STEP_RETRY_SECONDS
            if delay is None and self._leave_thread():
                return
            self._wake.wait(delay)
            self._wake.clear()

    def step(self, now: float) -> float | None:
        """`now` is monotonic. Seconds until the next step; None when there is nothing to do until something changes."""
        self._take_submitted()
        try:
            result = self._reconciler.step(now)
        except Cancelled:
            return 0.0
        except EngineError as error:
            self._note_trouble(f"{error.error_code}: {error.message}", engine=True)
            return STEP_RETRY_SECONDS
        self._trouble = None
        if self._owes_report and not result.reported:
            self._reconciler.report_again()
        self._owes_report = False
        return result.delay

    def _note_trouble(self, trouble: str, engine: bool = False) -> None:
        """Log it once, and not every few seconds. An engine's that stays is reported: it is why nothing happens."""
        if trouble != self._trouble:
            log.warning("deployment %s: %s", self.record.deployment_id, trouble)
        elif self.is_on_its_way and engine:
            self._reconciler.wait_for_engine(trouble)
        self._trouble = trouble

    def _take_submitted(self) -> None:
        with self._lock:
            record, self._submitted = self._submitted, None
            if record is None or self._closed:
                return
            self._owes_report = True
            if record.command.generation > self.record.command.generation:
                self._reconciler = Reconciler(record, self._context, self._starter)

    def _leave_thread(self) -> bool:
        with self._lock:
            self._has_thread = self._submitted is not None or self._wake.is_set()
            return not self._has_thread
