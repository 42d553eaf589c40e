"""Takes the steps of a plan: pulls, ends, removes and starts."""

from __future__ import annotations

import logging
from dataclasses import replace
from threading import Event

from muster.api.lifecycle import Status
from muster.api.messages import Deploy, Progress
from muster_agent.engines.base import Cancelled
from muster_agent.runner.context import WorkerContext
from muster_agent.runner.deployment_state import DeploymentState
from muster_agent.runner.plan import Fetch, Remove, Start, Step, Terminate
from muster_agent.runner.starter import PreparedStart, Starter
from muster_agent.state.db import JournalFull

log = logging.getLogger(__name__)

STOP_GRACE_SECONDS = 30.0


class PlanExecutor:
    """`cancelled` ends a pull, and lets nothing start any more."""

    def __init__(self, context: WorkerContext, state: DeploymentState, starter: Starter) -> None:
        self.cancelled = Event()
        self._context = context
        self._engine = context.host.engine
        self._state = state
        self._starter = starter

    def perform(self, steps: tuple[Step, ...], prepared: PreparedStart | None = None) -> None:
        """Take the steps; `prepared` is what a start among them needs. Raises Cancelled, EngineError."""
        if not steps:
            return
        self._state.save(replace(self._state.record, attempts=self._state.record.attempts + 1))
        try:
            for step in steps:
                self._take(step, prepared)
        finally:
            # Reached on every error but the agent's own death, which is what attempts count.
            self._context.instance_cache.changed()
            self._state.save(replace(self._state.record, attempts=0))

    def _take(self, step: Step, prepared: PreparedStart | None) -> None:
        match step:
            case Fetch(image):
                self._state.report(Status.DOWNLOADING, f"Pulling {image}")
                self._fetch(image)
            case Terminate(instance_id):
                self._announce_end(instance_id)
                self._context.host.drain(instance_id, self.cancelled.is_set)
                self._engine.stop(instance_id, STOP_GRACE_SECONDS)
            case Remove(instance_id):
                self._remove(instance_id)
            case Start():
                self._start(prepared)

    def _fetch(self, image: str) -> None:
        try:
            self._context.pulls.pull(image, self._downloading, self.cancelled, self._pull_retried)
        except JournalFull as error:
            log.warning("image %s was pulled, and prune will not count it as this agent's: %s", image, error)

    def _downloading(self, progress: Progress) -> None:
        self._state.report(Status.DOWNLOADING, "Pulling the image", progress=progress)

    def _pull_retried(self, why: str, progress: Progress) -> None:
        self._state.report(Status.DOWNLOADING, why, progress=progress)

    def _announce_end(self, instance_id: str) -> None:
        """Report before an older instance ends that it no longer serves, so that clients stop sending it requests."""
        record = self._state.record
        self._state.ending.add(instance_id)
        is_prepared = isinstance(record.command, Deploy) and record.status is not Status.RUNNING
        if is_prepared and not record.at_rest and (record.report is None or record.report.serving != 0):
            self._state.report(Status.STARTING, "Ending the instance of the generation before")

    def _remove(self, instance_id: str) -> None:
        instance = next((instance for instance in self._state.instances() if instance.id == instance_id), None)
        if instance is not None:
            self._context.archive.save_and_remove(self._engine, instance, self._context.host.clocks.wall())

    def _start(self, prepared: PreparedStart | None) -> None:
        if self.cancelled.is_set() or prepared is None:
            raise Cancelled
        state, caution = self._state, prepared.preflight.caution
        if state.record.status is not Status.STARTING or state.is_waiting or state.counts_down or caution:
            state.report(Status.STARTING, f"Starting. {caution}" if caution else "Starting")
        with self._context.instance_cache.start(state.record.deployment_id):
            instance = self._starter.start(prepared.command, state.record.port)
        state.expect(instance)
