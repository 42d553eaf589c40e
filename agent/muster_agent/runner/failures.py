"""What a failure of a deployment becomes: another start after a wait, or its end, and the report of either."""

from __future__ import annotations

import logging

from muster.api.lifecycle import Status
from muster.api.messages import Deploy
from muster.diagnostics.log import EXCERPT_BYTES, Diagnosis, diagnose, excerpt
from muster_agent.engines.base import EngineError, Instance
from muster_agent.runner.context import WorkerContext
from muster_agent.runner.crash_context import crash_context
from muster_agent.runner.deployment_state import DeploymentState, Failure
from muster_agent.runner.restarts import Restarts

log = logging.getLogger(__name__)

HUNG_GRACE_SECONDS = 10.0
OPERATOR_STOP_SECONDS = 300.0
"""Seconds that an operator's stop of an instance may take. If the instance still runs, the engine refused the stop."""
ADDRESS_MISSING = "ADDRESS_MISSING"
CRASH_LOG_LINES = 5000

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


class Failures:
    """The failures of one deployment."""

    def __init__(self, context: WorkerContext, state: DeploymentState, restarts: Restarts) -> None:
        self._context = context
        self._host = context.host
        self._state = state
        self._restarts = restarts
        self._asked_to_end: dict[str, float] = {}

    def expect_end(self, instance_id: str) -> None:
        """An operator ends this instance; that is no crash. Any thread."""
        self._asked_to_end[instance_id] = self._host.clocks.monotonic()

    def forget_refused_end(self, instance: Instance, now: float) -> None:
        """The instance still runs: if its end was due long ago, the next one is a crash."""
        if now - self._asked_to_end.get(instance.id, now) > OPERATOR_STOP_SECONDS:
            del self._asked_to_end[instance.id]

    def account_for_absence(self, command: Deploy, instances: list[Instance], now: float) -> None:
        """The instance that should be there is not: report why, once for each instance."""
        state, expected = self._state, self._state.record.container_id
        if expected is None:
            return
        ended = next((instance for instance in instances if instance.id == expected), None)
        if expected in self._asked_to_end:
            del self._asked_to_end[expected]
            state.report(Status.STOPPED, "Its container was stopped by an operator", gone=True)
        elif self._host.run() != state.expected_in:
            state.report(Status.STARTING, "It ended with its host or its Docker daemon, and starts again", gone=True)
        elif ended is None:
            gone = Diagnosis("CONTAINER_FAILED", "Its container is gone: something else removed it", False)
            self.failed(command, gone, now)
        else:
            self._crashed(command, ended, now)

    def step_failed(self, command: Deploy, error: EngineError, now: float) -> None:
        """A step of the deployment failed while the engine answers."""
        permanent = error.permanent or error.error_code in PERMANENT_ERROR_CODES
        self.failed(command, Diagnosis(error.error_code, error.message, permanent, error.fix), now)

    def failed(self, command: Deploy, diagnosis: Diagnosis, now: float, logs: str = "") -> None:
        """Report a failure, and count it unless it ends the deployment for good."""
        code, message = diagnosis.error_code, self._context.secrets.hide(diagnosis.message, command)
        failure = Failure(code, self._context.secrets.hide(logs, command), diagnosis.fix)
        log.warning("deployment %s: %s: %s", command.deployment_id, code, message)
        is_final = command.restart == "never" and code != ADDRESS_MISSING  # that is the host's trouble
        if diagnosis.permanent or is_final:
            self._state.report(Status.ERROR, message, gone=True, failure=failure)
            return
        backoff = self._restarts.again(now, code)
        self._state.count_crash()
        again = f"{message} (starts again in {backoff:.0f} s{self._restarts.why_longer()})"
        self._state.report(Status.STARTING, again, gone=True, failure=failure)

    def kill_hung(self, instance: Instance) -> str:
        """End an instance that hangs, and return the end of its log."""
        text = self._host.engine.logs(instance.id, CRASH_LOG_LINES, None).text
        self._host.engine.stop(instance.id, HUNG_GRACE_SECONDS)
        self._context.instance_cache.changed()
        return text

    def _crashed(self, command: Deploy, instance: Instance, now: float) -> None:
        text = self._host.engine.logs(instance.id, CRASH_LOG_LINES, None).text
        listed = self._context.instance_cache.instances()
        surroundings = crash_context(instance, self._host.host_probe, self._host.engine.root(), listed)
        diagnosis = diagnose(text, instance.exit_code, instance.oom_killed)
        self.failed(command, diagnosis, now, excerpt(text, EXCERPT_BYTES - len(surroundings.encode())) + surroundings)
