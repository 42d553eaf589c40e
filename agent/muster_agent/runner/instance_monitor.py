"""Watches over the instance that a deployment wants: on its way up, while it runs, and where it listens."""

from __future__ import annotations

import logging
from dataclasses import replace

from muster.api.lifecycle import Status
from muster.api.messages import Deploy
from muster.diagnostics.log import Diagnosis, diagnose, excerpt
from muster_agent.engines.base import Instance
from muster_agent.engines.labels import instance_name
from muster_agent.runner.context import WorkerContext
from muster_agent.runner.deployment_state import DeploymentState
from muster_agent.runner.failures import Failures
from muster_agent.runner.plan_executor import STOP_GRACE_SECONDS
from muster_agent.runner.probes import HUNG_AFTER_SECONDS, Pulse
from muster_agent.runner.restarts import Restarts
from muster_agent.runner.starter import Starter
from muster_agent.runner.startup import STALLED_AFTER_SECONDS, StartupObserver, StartupWatchdog

log = logging.getLogger(__name__)

READY_PROBE_EVERY_SECONDS = 1.0
WATCH_EVERY_SECONDS = 5.0
REBIND_AFTER_SECONDS = 10.0
"""Seconds for which an instance must listen at another address than the worker's: a name may resolve to an old one."""

PHASE_MESSAGES = {
    "downloading_weights": "Downloading the weights",
    "loading": "Loading the weights",
    "compiling": "Compiling and warming up",
    "serving": "Starting the model's server",
}


class InstanceMonitor:
    """Each `now` is of CLOCK_MONOTONIC."""

    def __init__(
        self, context: WorkerContext, starter: Starter, state: DeploymentState, failures: Failures, restarts: Restarts
    ) -> None:
        self._context = context
        self._host = context.host
        self._starter = starter
        self._state = state
        self._failures = failures
        self._restarts = restarts
        self._observer = StartupObserver(
            context.host.engine, context.host.policy.hub_cache, context.host.host_probe.gpus
        )
        self._watchdog: StartupWatchdog | None = None
        self._pulse = Pulse()
        self._weights: int | None = None
        self._name: str | None = None
        self._misplaced_since: float | None = None

    def prepare_start(self, weights: int | None) -> None:
        """Forget the instance before: another one starts, with `weights` bytes to download, if that is known."""
        self._weights = weights
        self._watchdog = self._name = None

    def attend(self, command: Deploy, instance: Instance, now: float) -> float:
        """Watch over the instance, whoever started it. Seconds until the next step."""
        self._failures.forget_refused_end(instance, now)
        if self._state.record.container_id != instance.id:
            self._state.expect(instance)
        self._note_name(command, instance)
        if self._is_misplaced(instance, now):
            self._rebind(instance)
            return 0.0
        if self._state.record.status is Status.RUNNING:
            return self._watch(command, instance, now)
        if self._starter.is_ready(command, instance):
            self._restarts.note_running(now)
            self._pulse = Pulse()
            self._state.report(Status.RUNNING, "Model loaded successfully", address=self._address(instance))
            return WATCH_EVERY_SECONDS
        return self._await(command, instance, now)

    def _note_name(self, command: Deploy, instance: Instance) -> None:
        name = self._name or instance_name(command.deployment_id, command.generation)
        if instance.name != name:
            log.warning("%s was renamed to %s: it is known by its labels, and stays", name, instance.name)
        self._name = instance.name

    # On its way up

    def _await(self, command: Deploy, instance: Instance, now: float) -> float:
        if self._state.record.status is not Status.STARTING or self._state.is_waiting:
            self._state.report(Status.STARTING, "Loading the model")
        if self._starter.is_out_of_reach(instance):
            # It may be ready: nobody can tell, and the 10 minutes begin anew when somebody can.
            self._watchdog = None
            return READY_PROBE_EVERY_SECONDS
        watchdog = self._watchdog = self._watchdog or StartupWatchdog(now, self._weights)
        if watchdog.is_due(now):
            self._observe(watchdog, command, instance, now)
        if watchdog.has_ended(now):
            message = f"Nothing of it grew for {STALLED_AFTER_SECONDS / 60:.0f} minutes: {watchdog.watched}"
            text = self._failures.kill_hung(instance)
            self._failures.failed(command, Diagnosis("START_STALLED", message, False), now, excerpt(text))
        return READY_PROBE_EVERY_SECONDS

    def _observe(self, watchdog: StartupWatchdog, command: Deploy, instance: Instance, now: float) -> None:
        before = watchdog.progress
        watchdog.note(now, self._observer.observe(command, instance))
        if watchdog.progress is not None and watchdog.progress != before:
            message = PHASE_MESSAGES[watchdog.progress.phase]
            self._state.report(Status.STARTING, message, progress=watchdog.progress)

    # While it runs

    def _watch(self, command: Deploy, instance: Instance, now: float) -> float:
        if self._restarts.note_running(now):
            self._end_crash_loop(instance)
        if self._address(instance) != self._state.reported_address:
            self._report_running(instance)
        if self._pulse.has_stopped(now, lambda: self._starter.is_alive(instance)):
            self._restart_hung(command, instance, now)
        return WATCH_EVERY_SECONDS

    def _restart_hung(self, command: Deploy, instance: Instance, now: float) -> None:
        text = self._failures.kill_hung(instance)
        # It did run with this configuration, so whatever its log has is not for good.
        found = diagnose(text, None, False)._replace(permanent=False)
        message = f"It ran, and its /health was not answered with 200 for {HUNG_AFTER_SECONDS:.0f} s"
        unknown = Diagnosis("CONTAINER_FAILED", message, False)
        diagnosis = unknown if found.error_code == unknown.error_code else found
        self._failures.failed(command, diagnosis, now, excerpt(text))

    def _end_crash_loop(self, instance: Instance) -> None:
        """It has run for long enough: the next crash is the first again, and a loop that was reported is over."""
        report = self._state.record.report
        was_loop = report is not None and report.crash_loop is not None
        self._state.save(replace(self._state.record, crashes=None))
        if was_loop:
            log.info("deployment %s: the crash loop is over", self._state.record.deployment_id)
            self._report_running(instance)

    def _report_running(self, instance: Instance) -> None:
        self._state.report(Status.RUNNING, self._running_message(instance), address=self._address(instance))

    def _running_message(self, instance: Instance) -> str:
        listening = self._host.listening
        if listening.fits(instance.bind) is False:
            return f"It listens at {instance.bind}, which is not this worker's address any more: restart it to move it"
        if listening.is_missing():
            return f"It runs, and the host has lost {instance.bind}, where it listens"
        return "Model loaded successfully"

    # Where it listens

    def _address(self, instance: Instance) -> str:
        """The worker's address, if the instance can be reached by it at this moment."""
        return self._host.listening.reach(instance.bind, self._state.reported_address or "")

    def _is_misplaced(self, instance: Instance, now: float) -> bool:
        """Whether it has listened elsewhere than `--address` means for long enough to be moved."""
        listening = self._host.listening
        if listening.fits(instance.bind) is not False or listening.is_missing():
            self._misplaced_since = None
        elif self._misplaced_since is None:
            self._misplaced_since = now
        since = self._misplaced_since
        return listening.rebind == "restart" and since is not None and now - since >= REBIND_AFTER_SECONDS

    def _rebind(self, instance: Instance) -> None:
        """Announce the restart, then end the instance: the next step starts it at the address of today."""
        address = self._host.listening.address
        where = f"at {self._host.listening.bind()}{f' (--address {address})' if address else ''}"
        message = f"It listens at {instance.bind}, and models of this worker now listen {where}: it restarts there"
        log.warning("deployment %s: %s", self._state.record.deployment_id, message)
        self._misplaced_since = None
        self._state.report(Status.STARTING, message, gone=True)
        self._host.drain(instance.id, lambda: False)
        self._host.engine.stop(instance.id, STOP_GRACE_SECONDS)
        self._context.instance_cache.changed()
