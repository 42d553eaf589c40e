"""Looks at the host every few seconds, so that nobody who must not wait has to."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event

from muster.api.conditions import ConditionType
from muster_agent.backends.weights import CODE as CACHE_UNUSABLE
from muster_agent.engines.base import EngineError
from muster_agent.runner.context import WorkerContext
from muster_agent.runner.manager import DeploymentManager

log = logging.getLogger(__name__)

POLL_EVERY_SECONDS = 4.0
LISTING_HUNG_AFTER_SECONDS = 10.0
"""Seconds after which a look that has not returned counts as one that found trouble."""


class Poller:
    """`check` belongs to the heartbeat, the rest to a thread of its own (or a test)."""

    def __init__(self, context: WorkerContext, manager: DeploymentManager) -> None:
        self._instance_cache = context.instance_cache
        self._manager = manager
        self._listening = context.host.listening
        self._conditions = context.host.conditions
        self._monotonic = context.host.clocks.monotonic
        self._closed = Event()
        self._began: float | None = None
        self._faults: dict[str, str] = {}
        self._message: str | None = None

    def step(self) -> None:
        """Look once at addresses, weights, and engine; note their conditions, and tell the deployments what runs."""
        self._log_failure_of(self._listening.refresh, "the addresses of this host cannot be read")
        self._note_weights()
        self._began = self._monotonic()
        try:
            self._instance_cache.refresh()
        except Exception as error:
            # Docker may be restarting: what was seen last stays.
            self._note_trouble(error)
        else:
            self._message = None
            self._conditions.in_order(ConditionType.ENGINE_UNAVAILABLE)
            self._log_failure_of(self._manager.notice, "the deployments cannot be told what runs")
        finally:
            self._began = None

    def check(self) -> None:
        """Note the trouble of a look that does not return, which itself notes nothing. Never waits."""
        began = self._began
        if began is not None and self._monotonic() - began >= LISTING_HUNG_AFTER_SECONDS:
            seconds = f"{LISTING_HUNG_AFTER_SECONDS:.0f} s"
            hangs = f"the engine does not answer within {seconds}: see whether Docker hangs on this host"
            self._trouble(self._message or hangs)

    def run(self) -> None:
        while not self._closed.is_set():
            self.step()
            self._closed.wait(POLL_EVERY_SECONDS)

    def close(self) -> None:
        """End `run` after its current step."""
        self._closed.set()

    def _note_weights(self) -> None:
        """Deployments say by themselves whether they could use their weights."""
        held_up = self._manager.failed_with(CACHE_UNUSABLE)
        if held_up:
            message = next(iter(held_up.values())).partition(" (starts again in ")[0]
            self._conditions.trouble(ConditionType.WEIGHTS_UNREADABLE, message[:1000], deployments=list(held_up))
        else:
            self._conditions.in_order(ConditionType.WEIGHTS_UNREADABLE)

    def _note_trouble(self, error: Exception) -> None:
        if not isinstance(error, EngineError):
            self._log_once(error, "the engine cannot be looked at")
            self._message = f"the engine cannot be looked at: {type(error).__name__}: {error}: see the agent's log"
        elif error.error_code == "DOCKER_UNAVAILABLE":
            self._message = error.message
        else:
            cause = error.message
            self._message = f"the engine cannot list what runs: {cause}: see its own log (`journalctl -u docker`)"
        self._trouble(self._message)

    def _trouble(self, message: str) -> None:
        self._conditions.trouble(ConditionType.ENGINE_UNAVAILABLE, message[:1000], deployments=self._manager.held_up())

    def _log_failure_of(self, act: Callable[[], object], failed: str) -> None:
        """Call `act`; if it fails, log that, and keep what the last call found."""
        try:
            act()
        except Exception as error:
            # The other looks of this round go on, whatever this one met.
            self._log_once(error, failed)
        else:
            self._faults.pop(failed, None)

    def _log_once(self, error: Exception, failed: str) -> None:
        """With its traceback, and not every few seconds."""
        if self._faults.get(failed) != repr(error):
            log.error("%s", failed, exc_info=error)
        self._faults[failed] = repr(error)
