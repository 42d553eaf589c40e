"""One generation of a deployment on this host: what a step does, from looking to reporting. It has no thread.

All that a restarted agent needs is in the journal and in the instances' labels, so a step that was cut off is simply
taken again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from math import ceil
from threading import Event
from typing import NamedTuple

import msgspec

from muster.api.lifecycle import COMING_UP, ENDING, Status
from muster.api.messages import CrashLoop, Deploy, Fix, Progress, Report, Stop
from muster.diagnostics.log import EXCERPT_BYTES, Diagnosis, diagnose, excerpt
from muster_agent.engines.base import Cancelled, EngineError, Instance
from muster_agent.engines.labels import instance_name
from muster_agent.runner.context import WorkerContext
from muster_agent.runner.crash_context import crash_context
from muster_agent.runner.plan import Fetch, Remove, Start, Step, Terminate, of_deployment, outdated, plan, wanted
from muster_agent.runner.preflight import GpuMissing
from muster_agent.runner.probes import HUNG_AFTER_SECONDS, Pulse
from muster_agent.runner.restarts import Restarts
from muster_agent.runner.starter import PreparedStart, Starter
from muster_agent.runner.startup import STALLED_AFTER_SECONDS, StartupObserver, StartupWatchdog
from muster_agent.state.db import JournalFull
from muster_agent.state.deployments import Record

log = logging.getLogger(__name__)

STOP_GRACE_SECONDS = 30.0
READY_PROBE_EVERY_SECONDS = 1.0
WATCH_EVERY_SECONDS = 5.0
HUNG_GRACE_SECONDS = 10.0
MAX_STEP_DELAY_SECONDS = 5.0
MAX_ATTEMPTS = 3
OPERATOR_STOP_SECONDS = 300.0
"""Seconds that an operator's stop of an instance may take. If the instance still runs, the engine refused the stop."""
REBIND_AFTER_SECONDS = 10.0
"""Seconds for which an instance must listen at another address than the worker's: a name may resolve to an old one."""
ADDRESS_MISSING = "ADDRESS_MISSING"
CRASH_LOG_LINES = 5000
WAITING_PREFIX = "Waits for"
"""How a message begins that is out of date as soon as the deployment can go on."""

PERMANENT_ERROR_CODES = frozenset(
    {
        "REFUSED_BY_HOST",
        "INVALID_CONFIG",
        "IMAGE_NOT_FOUND",
        "IMAGE_UNSUITABLE",
        "REGISTRY_UNAUTHORIZED",
        "UNSUPPORTED_BY_ENGINE",
        "SHM_TOO_SMALL",
        "DRIVER_TOO_OLD",
        "MODEL_NOT_FOUND",
        "MODEL_GATED",
        "MODEL_DAMAGED",
        "DISK_FAILED",
    }
)
"""Codes of a step that failed, and would fail again however often it is taken."""

PHASE_MESSAGES = {
    "downloading_weights": "Downloading the weights",
    "loading": "Loading the weights",
    "compiling": "Compiling and warming up",
    "serving": "Starting the model's server",
}


class StepResult(NamedTuple):
    """`delay` is in seconds, until the next step; None when there is nothing to do until something changes.

    `reported` says whether the step reported how the deployment is.
    """

    delay: float | None
    reported: bool


class Reconciler:
    """`cancelled` ends a pull, and lets nothing start any more."""

    def __init__(self, record: Record, context: WorkerContext, starter: Starter) -> None:
        self.record = record
        self.cancelled = Event()
        self._context = context
        self._host = context.host
        self._starter = starter
        self._startup_observer = StartupObserver(
            context.host.engine, context.host.policy.hub_cache, context.host.host_probe.gpus
        )
        self._restarts = Restarts(record.crashes, context.host.boot_id())
        self._watchdog: StartupWatchdog | None = None
        self._pulse = Pulse()
        self._prepared: PreparedStart | None = None
        self._name: str | None = None
        # The run of the host in which the expected instance was there.
        self._expected_in = context.host.run()
        self._asked_to_end: dict[str, float] = {}
        self._misplaced_since: float | None = None
        self._ending: set[str] = set()
        self._reported = False

    def expect_end(self, instance_id: str) -> None:
        """An operator ends this instance; that is no crash."""
        self._asked_to_end[instance_id] = self._host.monotonic()

    def step(self, now: float) -> StepResult:
        """Compare the intent with what runs, and act. Raises Cancelled; EngineError if the engine does not answer."""
        self._reported = False
        delay = self._step(now)
        return StepResult(delay, self._reported)

    def _step(self, now: float) -> float | None:
        if self.record.attempts >= MAX_ATTEMPTS:
            self._give_up_crash_looping_command()
            return None
        command = self.record.command
        return self._end(command) if isinstance(command, Stop) else self._bring_up(command, now)

    def misses(self, running: Collection[str]) -> bool:
        """Whether the instance that it expects is not among those that run."""
        return self.record.container_id is not None and self.record.container_id not in running

    def next_start_in(self) -> int:
        """Seconds until the next start; 0 where none is waited for. Any thread."""
        return ceil(self._restarts.wait(self._host.monotonic()))

    def report_again(self) -> None:
        """Report once more what was reported last, with the time that is left by now until the next start."""
        report = self.record.report
        if report is not None:
            report = msgspec.structs.replace(report, crash_loop=self._crash_loop(report.reported))
            self._save(replace(self.record, report=report), report)

    def wait_for_engine(self, trouble: str) -> None:
        """Report once that the engine does not do what is next: nothing has failed, and nothing can happen."""
        message = f"{WAITING_PREFIX} the engine. {trouble}"
        if self.record.report is None or self.record.report.message != message:
            otherwise = Status.STOPPING if isinstance(self.record.command, Stop) else Status.STARTING
            # Where none is expected, what ran ended with its host.
            ran = self.record.status is Status.RUNNING and self.record.container_id is None
            self._report(otherwise if ran or self.record.status is None else self.record.status, message)

    def _end(self, command: Stop) -> float | None:
        instances = self._instances()
        if outdated(command, instances):
            return None
        if instances and self.record.status not in (Status.STOPPING, Status.STOPPED):
            self._report(Status.STOPPING, "Stopping")
        self._perform(plan(command, instances))
        if self.record.status is not Status.STOPPED:
            self._report(Status.STOPPED, "Stopped", gone=True)
        return None

    def _bring_up(self, command: Deploy, now: float) -> float | None:
        instances = self._instances()
        if outdated(command, instances):
            return None
        current = wanted(command, instances)
        if current is None:
            self._account_for_absence(command, instances, now)
        if self.record.at_rest:
            # It failed for good, or an operator ended it: nothing of it shall be left.
            self._perform(plan(Stop(command.command_id, command.deployment_id, command.generation), instances))
            return None
        try:
            self._perform(self._plan(command, instances, now))
        except EngineError as error:
            if error.error_code == ADDRESS_MISSING:
                return self._await_host(f"{WAITING_PREFIX} its address. {error.message}")
            if isinstance(error, GpuMissing):
                return self._await_host(f"{WAITING_PREFIX} its GPU. {error.message}")
            self._look_again(error)
            permanent = error.permanent or error.error_code in PERMANENT_ERROR_CODES
            self._failed(command, Diagnosis(error.error_code, error.message, permanent, error.fix), now)
            return 0.0
        if current is None:
            return min(self._restarts.wait(now), MAX_STEP_DELAY_SECONDS) or READY_PROBE_EVERY_SECONDS
        return self._attend(command, current, now)

    def _look_again(self, error: EngineError) -> None:
        """Raises EngineError if the engine failed rather than the deployment's step: then no crash is counted."""
        if error.error_code == "DOCKER_UNAVAILABLE":
            raise error
        self._context.instance_cache.changed()
        self._instances()

    def _plan(self, command: Deploy, instances: list[Instance], now: float) -> tuple[Step, ...]:
        may_start = self._restarts.wait(now) == 0 and self._context.may_start()
        missing = None
        if may_start and wanted(command, instances) is None:
            self._prepared = self._starter.prepare(command, instances)
            if self._prepared.preflight.caution:
                log.warning("deployment %s: %s", command.deployment_id, self._prepared.preflight.caution)
            missing = self._prepared.missing_image
        return plan(command, instances, may_start=may_start, missing_image=missing)

    def _attend(self, command: Deploy, instance: Instance, now: float) -> float:
        """Watch over the instance that is there, whoever started it."""
        if now - self._asked_to_end.get(instance.id, now) > OPERATOR_STOP_SECONDS:
            del self._asked_to_end[instance.id]
        if self.record.container_id != instance.id:
            self._expected_in = self._host.run()
            self._save(replace(self.record, container_id=instance.id, port=instance.port))
        name = self._name or instance_name(command.deployment_id, command.generation)
        if instance.name != name:
            log.warning("%s was renamed to %s: it is known by its labels, and stays", name, instance.name)
        self._name = instance.name
        if self._is_misplaced(instance, now):
            self._rebind(instance)
            return 0.0
        if self.record.status is Status.RUNNING:
            return self._watch(command, instance, now)
        if self._starter.is_ready(command, instance):
            self._restarts.note_running(now)
            self._pulse = Pulse()
            self._report(Status.RUNNING, "Model loaded successfully", reach=self._reach(instance))
            return WATCH_EVERY_SECONDS
        return self._await(command, instance, now)

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
        log.warning("deployment %s: %s", self.record.deployment_id, message)
        self._misplaced_since = None
        self._report(Status.STARTING, message, gone=True)
        self._host.engine.stop(instance.id, STOP_GRACE_SECONDS)
        self._context.instance_cache.changed()

    def _await_host(self, message: str) -> float:
        """Report that the host lacks an address or a GPU. Nothing has failed: the deployment starts when it is back."""
        if self.record.report is None or self.record.report.message != message:
            log.warning("deployment %s: %s", self.record.deployment_id, message)
            self._report(Status.STARTING, message)
        return MAX_STEP_DELAY_SECONDS

    def _watch(self, command: Deploy, instance: Instance, now: float) -> float:
        if self._restarts.note_running(now):
            self._end_row(instance)
        if self._reach(instance) != self._reported_reach():
            self._report(Status.RUNNING, self._reach_message(instance), reach=self._reach(instance))
        if self._pulse.has_stopped(now, lambda: self._starter.is_alive(instance)):
            text = self._kill_hung(instance)
            # It did run with this configuration, so whatever its log has is not for good.
            found = diagnose(text, None, False)._replace(permanent=False)
            message = f"It ran, and its /health was not answered with 200 for {HUNG_AFTER_SECONDS:.0f} s"
            unknown = Diagnosis("CONTAINER_FAILED", message, False)
            self._failed(command, unknown if found.error_code == unknown.error_code else found, now, excerpt(text))
        return WATCH_EVERY_SECONDS

    def _end_row(self, instance: Instance) -> None:
        """It has run for long enough: the next crash is the first again, and a loop that was reported is over."""
        was_loop = self.record.report is not None and self.record.report.crash_loop is not None
        self._save(replace(self.record, crashes=None))
        if was_loop:
            log.info("deployment %s: the crash loop is over", self.record.deployment_id)
            self._report(Status.RUNNING, self._reach_message(instance), reach=self._reach(instance))

    def _reach(self, instance: Instance) -> str:
        """The worker's address, if the instance can be reached by it at this moment."""
        return self._host.listening.reach(instance.bind, self._reported_reach() or "")

    def _reported_reach(self) -> str | None:
        report = self.record.report
        return report.address if report is not None and self.record.status is Status.RUNNING else None

    def _reach_message(self, instance: Instance) -> str:
        listening = self._host.listening
        if listening.fits(instance.bind) is False:
            return f"It listens at {instance.bind}, which is not this worker's address any more: restart it to move it"
        if listening.is_missing():
            return f"It runs, and the host has lost {instance.bind}, where it listens"
        return "Model loaded successfully"

    def _await(self, command: Deploy, instance: Instance, now: float) -> float:
        if self.record.status is not Status.STARTING or self._waited:
            self._report(Status.STARTING, "Loading the model")
        if self._starter.is_out_of_reach(instance):
            # It may be ready: nobody can tell, and the 10 minutes begin anew when somebody can.
            self._watchdog = None
            return READY_PROBE_EVERY_SECONDS
        weights = self._prepared.preflight.weights if self._prepared is not None else None
        watchdog = self._watchdog = self._watchdog or StartupWatchdog(now, weights)
        if watchdog.is_due(now):
            before = watchdog.progress
            watchdog.note(now, self._startup_observer.observe(command, instance))
            if watchdog.progress is not None and watchdog.progress != before:
                self._report(Status.STARTING, PHASE_MESSAGES[watchdog.progress.phase], progress=watchdog.progress)
        if watchdog.has_ended(now):
            message = f"Nothing of it grew for {STALLED_AFTER_SECONDS / 60:.0f} minutes: {watchdog.watched}"
            text = self._kill_hung(instance)
            self._failed(command, Diagnosis("START_STALLED", message, False), now, excerpt(text))
        return READY_PROBE_EVERY_SECONDS

    # Performing a plan

    def _perform(self, steps: tuple[Step, ...]) -> None:
        if not steps:
            return
        self._save(replace(self.record, attempts=self.record.attempts + 1))
        try:
            for step in steps:
                self._take(step)
        finally:
            # Reached on every error but the agent's own death, which is what attempts count.
            self._context.instance_cache.changed()
            self._save(replace(self.record, attempts=0))

    def _take(self, step: Step) -> None:
        match step:
            case Fetch(image):
                self._report(Status.DOWNLOADING, f"Pulling {image}")
                self._fetch(image)
            case Terminate(instance_id):
                self._announce_end(instance_id)
                self._host.engine.stop(instance_id, STOP_GRACE_SECONDS)
            case Remove(instance_id):
                self._remove(instance_id)
            case Start():
                self._start()

    def _fetch(self, image: str) -> None:
        try:
            self._context.pulls.pull(image, self._downloading, self.cancelled, self._pull_retried)
        except JournalFull as error:
            log.warning("image %s was pulled, and prune will not count it as this agent's: %s", image, error)

    def _announce_end(self, instance_id: str) -> None:
        """Report before an older instance ends that it no longer serves, so that clients stop sending it requests."""
        self._ending.add(instance_id)
        is_prepared = isinstance(self.record.command, Deploy) and self.record.status is not Status.RUNNING
        report = self.record.report
        if is_prepared and not self.record.at_rest and (report is None or report.serving != 0):
            self._report(Status.STARTING, "Ending the instance of the generation before")

    def _start(self) -> None:
        if self.cancelled.is_set() or self._prepared is None:
            raise Cancelled
        caution = self._prepared.preflight.caution
        if self.record.status is not Status.STARTING or self._waited or self._counts_down or caution:
            self._report(Status.STARTING, f"Starting. {caution}" if caution else "Starting")
        self._watchdog = self._name = None
        with self._context.instance_cache.start(self.record.deployment_id):
            instance = self._starter.start(self._prepared.template, self.record.port)
        self._expected_in = self._host.run()
        self._save(replace(self.record, container_id=instance.id, port=instance.port))

    def _remove(self, instance_id: str) -> None:
        instance = next((each for each in self._instances() if each.id == instance_id), None)
        if instance is not None:
            self._context.archive.save_and_remove(self._host.engine, instance, self._host.clock())

    def _downloading(self, progress: Progress) -> None:
        self._report(Status.DOWNLOADING, "Pulling the image", progress=progress)

    def _pull_retried(self, why: str, progress: Progress) -> None:
        self._report(Status.DOWNLOADING, why, progress=progress)

    # When it does not go as wanted

    def _account_for_absence(self, command: Deploy, instances: list[Instance], now: float) -> None:
        """The instance that should be there is not: say why, once for each."""
        expected = self.record.container_id
        if expected is None:
            return
        ended = next((each for each in instances if each.id == expected), None)
        if expected in self._asked_to_end:
            del self._asked_to_end[expected]
            self._report(Status.STOPPED, "Its container was stopped by an operator", gone=True)
            return
        if self._host.run() != self._expected_in:
            self._report(Status.STARTING, "It ended with its host or its Docker daemon, and starts again", gone=True)
            return
        if ended is None:
            gone = Diagnosis("CONTAINER_FAILED", "Its container is gone: something else removed it", False)
            self._failed(command, gone, now)
            return
        text = self._host.engine.logs(ended.id, CRASH_LOG_LINES, None).text
        there = self._context.instance_cache.instances()
        host_probe = crash_context(ended, self._host.host_probe, self._host.engine.root(), there)
        diagnosis = diagnose(text, ended.exit_code, ended.oom_killed)
        self._failed(command, diagnosis, now, excerpt(text, EXCERPT_BYTES - len(host_probe.encode())) + host_probe)

    def _failed(self, command: Deploy, diagnosis: Diagnosis, now: float, logs: str = "") -> None:
        code, message = diagnosis.error_code, self._context.secrets.hide(diagnosis.message, command)
        logs = self._context.secrets.hide(logs, command)
        log.warning("deployment %s: %s: %s", command.deployment_id, code, message)
        is_final = command.restart == "never" and code != ADDRESS_MISSING  # that is the host's trouble
        if diagnosis.permanent or is_final:
            self._report(Status.ERROR, message, gone=True, error_code=code, logs=logs, fix=diagnosis.fix)
            return
        backoff = self._restarts.again(now, code)
        self.record = replace(self.record, restarts=self.record.restarts + 1, crashes=self._restarts.crashes)
        again = f"{message} (starts again in {backoff:.0f} s{self._restarts.why_longer()})"
        self._report(Status.STARTING, again, gone=True, error_code=code, logs=logs, fix=diagnosis.fix)

    def _kill_hung(self, instance: Instance) -> str:
        """End an instance that hangs, and give the end of its log."""
        text = self._host.engine.logs(instance.id, CRASH_LOG_LINES, None).text
        self._host.engine.stop(instance.id, HUNG_GRACE_SECONDS)
        self._context.instance_cache.changed()
        return text

    def _give_up_crash_looping_command(self) -> None:
        if not self.record.at_rest:
            message = f"The agent died {MAX_ATTEMPTS} times while it acted on this command; it does not try again"
            self._report(Status.ERROR, message, error_code="POISON_COMMAND")

    # Saying and remembering

    @property
    def _waited(self) -> bool:
        """Whether the last that was reported is that it waits."""
        return self.record.report is not None and (self.record.report.message or "").startswith(WAITING_PREFIX)

    @property
    def _counts_down(self) -> bool:
        """Whether the last that was reported is that a crash loop waits for its next start."""
        loop = self.record.report.crash_loop if self.record.report is not None else None
        return loop is not None and loop.next_start_in is not None

    def _crash_loop(self, status: Status) -> CrashLoop | None:
        """What ends has none: nothing starts again."""
        return None if status in ENDING else self._restarts.loop(self._host.monotonic())

    def _instances(self) -> list[Instance]:
        listed = self._context.instance_cache.instances()
        return of_deployment(self.record.deployment_id, self._context.worker_id, listed)

    def _report(
        self,
        status: Status,
        message: str,
        *,
        gone: bool = False,
        error_code: str | None = None,
        logs: str = "",
        progress: Progress | None = None,
        fix: Fix | None = None,
        reach: str | None = None,
    ) -> None:
        """Journal the new status and spool its report. `gone` means that no instance is expected any more."""
        self._reported = True
        container_id = None if gone else self.record.container_id
        report = Report(
            status=status.value,
            container_id=container_id,
            port=self.record.port if container_id else None,
            message=message[:16000],
            error_code=error_code,
            logs=logs or None,
            generation=self.record.command.generation,
            progress=progress,
            restarts=self.record.restarts,
            fix=fix,
            address=reach,
            serving=self._serving() if status in COMING_UP else None,
            crash_loop=self._crash_loop(status),
        )
        self._save(replace(self.record, status=status, container_id=container_id, report=report), report)

    def _serving(self) -> int:
        """The generation of an older instance, which runs until this one takes its place; 0 if there is none."""
        seen = self._context.instance_cache.seen or ()
        older = [
            each.generation or 0
            for each in of_deployment(self.record.deployment_id, self._context.worker_id, seen)
            if each.state == "running" and each.id not in self._ending
        ]
        return max((each for each in older if each < self.record.command.generation), default=0)

    def _save(self, record: Record, report: Report | None = None) -> None:
        if record != self.record or report is not None:
            self.record = record
            self._context.deployments_table.save(record, report)
