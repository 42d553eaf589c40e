"""One generation of a deployment on this host: what a step does. It has no thread.

    DeploymentState   the record, journaled, and its reports
    PlanExecutor      takes the steps from what runs to what is wanted
    InstanceMonitor   watches over the instance that is wanted
    Failures          what a crash or a failed step becomes

All that a restarted agent needs is in the journal and in the instances' labels, so a step that was cut off is simply
taken again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from math import ceil
from typing import NamedTuple

from muster.api.lifecycle import Status
from muster.api.messages import Deploy, Stop
from muster_agent.engines.base import EngineError, Instance
from muster_agent.runner.context import WorkerContext
from muster_agent.runner.deployment_state import WAITING_PREFIX, DeploymentState, Failure
from muster_agent.runner.failures import ADDRESS_MISSING, Failures
from muster_agent.runner.instance_monitor import READY_PROBE_EVERY_SECONDS, InstanceMonitor
from muster_agent.runner.plan import Step, outdated, plan, wanted
from muster_agent.runner.plan_executor import PlanExecutor
from muster_agent.runner.preflight import GpuMissing
from muster_agent.runner.restarts import Restarts
from muster_agent.runner.starter import PreparedStart, Starter
from muster_agent.state.deployments import Record

log = logging.getLogger(__name__)

MAX_STEP_DELAY_SECONDS = 5.0
MAX_ATTEMPTS = 3


class StepResult(NamedTuple):
    """`delay` is in seconds, until the next step; None when there is nothing to do until something changes.

    `reported` says whether the step reported how the deployment is.
    """

    delay: float | None
    reported: bool


class Reconciler:
    def __init__(self, record: Record, context: WorkerContext, starter: Starter) -> None:
        self._context = context
        self._starter = starter
        self._restarts = Restarts(record.crashes, context.host.clocks.boot_id())
        self._state = DeploymentState(record, context, self._restarts)
        self._executor = PlanExecutor(context, self._state, starter)
        self._failures = Failures(context, self._state, self._restarts)
        self._monitor = InstanceMonitor(context, starter, self._state, self._failures, self._restarts)

    @property
    def record(self) -> Record:
        return self._state.record

    def cancel(self) -> None:
        """End a pull, and let nothing start any more. Any thread."""
        self._executor.cancelled.set()

    def expect_end(self, instance_id: str) -> None:
        """An operator ends this instance; that is no crash. Any thread."""
        self._failures.expect_end(instance_id)

    def step(self, now: float) -> StepResult:
        """Compare the intent with what runs, and act. Raises Cancelled; EngineError if the engine does not answer."""
        self._state.reported = False
        delay = self._step(now)
        return StepResult(delay, self._state.reported)

    def misses(self, running: Collection[str]) -> bool:
        """Whether the instance that it expects is not among those that run."""
        return self.record.container_id is not None and self.record.container_id not in running

    def next_start_in(self) -> int:
        """Seconds until the next start; 0 where none is waited for. Any thread."""
        return ceil(self._restarts.wait(self._context.host.clocks.monotonic()))

    def report_again(self) -> None:
        self._state.report_again()

    def wait_for_engine(self, trouble: str) -> None:
        """Report once that the engine does not do what is next: nothing has failed, and nothing can happen."""
        record, message = self.record, f"{WAITING_PREFIX} the engine. {trouble}"
        if record.report is None or record.report.message != message:
            otherwise = Status.STOPPING if isinstance(record.command, Stop) else Status.STARTING
            # Where none is expected, what ran ended with its host.
            ran = record.status is Status.RUNNING and record.container_id is None
            self._state.report(otherwise if ran or record.status is None else record.status, message)

    def _step(self, now: float) -> float | None:
        if self.record.attempts >= MAX_ATTEMPTS:
            self._give_up_crash_looping_command()
            return None
        command = self.record.command
        return self._end(command) if isinstance(command, Stop) else self._bring_up(command, now)

    def _give_up_crash_looping_command(self) -> None:
        if not self.record.at_rest:
            message = f"The agent died {MAX_ATTEMPTS} times while it acted on this command; it does not try again"
            self._state.report(Status.ERROR, message, failure=Failure("POISON_COMMAND"))

    def _end(self, command: Stop) -> float | None:
        instances = self._state.instances()
        if outdated(command, instances):
            return None
        if instances and self.record.status not in (Status.STOPPING, Status.STOPPED):
            self._state.report(Status.STOPPING, "Stopping")
        self._executor.perform(plan(command, instances))
        if self.record.status is not Status.STOPPED:
            self._state.report(Status.STOPPED, "Stopped", gone=True)
        return None

    def _bring_up(self, command: Deploy, now: float) -> float | None:
        instances = self._state.instances()
        if outdated(command, instances):
            return None
        current = wanted(command, instances)
        if current is None:
            self._failures.account_for_absence(command, instances, now)
        if self.record.at_rest:
            # It failed for good, or an operator ended it: nothing of it shall be left.
            stop = Stop(command.command_id, command.deployment_id, command.generation)
            self._executor.perform(plan(stop, instances))
            return None
        try:
            self._executor.perform(*self._plan(command, instances, now))
        except EngineError as error:
            return self._after_failed_step(command, error, now)
        if current is None:
            return min(self._restarts.wait(now), MAX_STEP_DELAY_SECONDS) or READY_PROBE_EVERY_SECONDS
        return self._monitor.attend(command, current, now)

    def _plan(
        self, command: Deploy, instances: list[Instance], now: float
    ) -> tuple[tuple[Step, ...], PreparedStart | None]:
        """The steps, and what a start among them needs. Raises EngineError if something is in the way of a start."""
        may_start = self._restarts.wait(now) == 0 and self._context.may_start()
        if not may_start or wanted(command, instances) is not None:
            return plan(command, instances, may_start=may_start), None
        prepared = self._starter.prepare(command, instances)
        if prepared.preflight.caution:
            log.warning("deployment %s: %s", command.deployment_id, prepared.preflight.caution)
        self._monitor.prepare_start(prepared.preflight.weights)
        return plan(command, instances, missing_image=prepared.missing_image), prepared

    def _after_failed_step(self, command: Deploy, error: EngineError, now: float) -> float:
        """Seconds until the next step. Raises EngineError if the engine does not answer."""
        if error.error_code == ADDRESS_MISSING:
            return self._await_host(f"{WAITING_PREFIX} its address. {error.message}")
        if isinstance(error, GpuMissing):
            return self._await_host(f"{WAITING_PREFIX} its GPU. {error.message}")
        self._check_engine(error)
        self._failures.step_failed(command, error, now)
        return 0.0

    def _await_host(self, message: str) -> float:
        """Report that the host lacks an address or a GPU. Nothing has failed: the deployment starts when it is back."""
        if self.record.report is None or self.record.report.message != message:
            log.warning("deployment %s: %s", self.record.deployment_id, message)
            self._state.report(Status.STARTING, message)
        return MAX_STEP_DELAY_SECONDS

    def _check_engine(self, error: EngineError) -> None:
        """Raises EngineError if the engine failed rather than the deployment's step: then no crash is counted."""
        if error.error_code == "DOCKER_UNAVAILABLE":
            raise error
        self._context.instance_cache.changed()
        self._state.instances()
