"""The agent's part of tunnels: a child while there is a gateway, its orders, its tickets, and what drains.

    no gateway ──► gateways are offered ──► child runs ──► it ended ──► wait ──► child runs
        ▲                                      │
        └── no gateway is left ◄───────────────┘

Nothing here is on the heartbeat's way: it hands over what the control plane answered, and this thread does the rest.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
from collections.abc import Callable, Mapping
from threading import Condition, Event, Lock, Thread
from typing import IO, Protocol

import msgspec

from muster.api.messages import Gateways
from muster_agent.control.backoff import Backoff
from muster_agent.runner.threads import Spawn
from muster_agent.tunnel.orders import Drained, GatewayOrder, ModelTarget, Orders
from muster_agent.tunnel.settings import TunnelSettings

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Seconds between two looks at which models serve."""
RENEW_AT = 0.75
"""The part of a ticket's life after which the next one is asked for: every tenth heartbeat brings one at half of it."""
RENEW_AGAIN_SECONDS = 20.0
END_SECONDS = 3.0
MAX_ENDED = 1024


class Models(Protocol):
    def __call__(self, before: Mapping[str, ModelTarget]) -> dict[str, ModelTarget]: ...


Renew = Callable[[], Gateways | None]
"""None where new tickets cannot be had now."""


class ChildProcess:
    """The running child. `take` gets each line that it writes, on a thread of its own, and None at the end."""

    def __init__(self, take: Callable[[bytes | None], None], command: tuple[str, ...]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._take = take
        self._thread = Thread(target=self._read, name="tunnel child", daemon=True)
        self._thread.start()

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, orders: Orders) -> None:
        """Raises OSError where the child has ended."""
        pipe = self._input
        pipe.write(msgspec.json.encode(orders) + b"\n")
        pipe.flush()

    def end(self) -> None:
        """Close its input, which ends it; kill it where that does not."""
        with contextlib.suppress(OSError):
            self._input.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._take(line)
        self._take(None)


CHILD = (sys.executable, "-m", "muster_agent.tunnel")


class TunnelSupervisor:
    """`offer`, `drain`, and `close` may be called by any thread; `step` belongs to one thread, or to a test."""

    def __init__(
        self,
        settings: TunnelSettings,
        monotonic: Callable[[], float],
        backoff: Backoff,
        child: tuple[str, ...] = CHILD,
    ) -> None:
        self._settings, self._monotonic, self._backoff, self._command = settings, monotonic, backoff, child
        self._models: Models = lambda before: {}
        self._renew: Renew = lambda: None
        self._lock = Lock()
        self._ended = Condition(self._lock)
        self._wake = Event()
        self._closed = False
        self._gateways: dict[str, str] = {}
        self._direct_wait = 0.0
        self._renew_at = float("inf")
        self._draining: set[str] = set()
        self._drained: dict[str, None] = {}
        self._known: dict[str, ModelTarget] = {}
        self._sent: Orders | None = None
        self._child: ChildProcess | None = None
        self._start_at = float("-inf")

    # Any thread

    def offer(self, gateways: Gateways) -> None:
        """Take the gateways that the control plane named, which replace those before."""
        if not self._settings.enabled:
            return
        allowed = [gateway for gateway in gateways.gateways if self._settings.allows(gateway.url)]
        with self._lock:
            self._gateways = {gateway.url: gateway.ticket for gateway in allowed}
            self._direct_wait = max(0.0, gateways.direct_wait)
            lifetimes = [gateway.expires_in for gateway in allowed]
            self._renew_at = self._monotonic() + RENEW_AT * min(lifetimes) if lifetimes else float("inf")
        self._wake.set()

    def drain(self, instance: str, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Let requests to the instance finish: no new ones are sent to it, and running ones have `--drain` seconds.

        Returns at once where no gateway reaches the instance.
        """
        with self._lock:
            wait = min(self._direct_wait, self._settings.drain)
            is_served = self._child is not None and self._child.lives and self._serves(instance)
            if is_served:
                self._draining.add(instance)
        deadline = self._monotonic() + self._settings.drain
        if is_served:
            self._wake.set()
            self._await_drained(instance, deadline, cancelled)
        if wait:
            self._pause(wait, cancelled)

    def close(self) -> None:
        """End the child; models go on running."""
        self._closed = True
        self._wake.set()
        with self._lock:
            child, self._child = self._child, None
            self._ended.notify_all()
        if child is not None:
            child.end()

    def start(self, models: Models, renew: Renew, spawn: Spawn) -> None:
        """Begin: `models` returns the models that serve, `renew` asks the control plane for new tickets."""
        self._models, self._renew = models, renew
        if self._settings.enabled:
            spawn("tunnels", self._run)

    def _serves(self, instance: str) -> bool:
        return any(target.instance == instance for target in self._known.values())

    def _await_drained(self, instance: str, deadline: float, cancelled: Callable[[], bool]) -> None:
        with self._lock:
            while instance not in self._drained and not self._closed and not cancelled():
                left = deadline - self._monotonic()
                if left <= 0 or self._child is None or not self._child.lives:
                    return
                self._ended.wait(min(left, LOOK_SECONDS))

    def _pause(self, seconds: float, cancelled: Callable[[], bool]) -> None:
        until = self._monotonic() + seconds
        with self._lock:
            while (left := until - self._monotonic()) > 0 and not self._closed and not cancelled():
                self._ended.wait(min(left, LOOK_SECONDS))

    # The supervisor's own thread

    def _run(self) -> None:
        while not self._closed:
            try:
                self.step(self._monotonic())
            except Exception:
                # Tunnels must not end for good over one look, whatever it met; control goes on without them.
                log.exception("this look at the tunnels failed")
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()

    def step(self, now: float) -> None:
        """Renew tickets, start or end the child, and send it what has changed. `now` is monotonic."""
        if now >= self._renew_at:
            self._renew_at = now + RENEW_AGAIN_SECONDS
            renewed = self._renew()
            if renewed is not None:
                self.offer(renewed)
        if not self._gateways:
            self._end_child()
            return
        if self._child is None or not self._child.lives:
            self._restart(now)
        if self._child is not None:
            self._send(self._child, now)

    def _restart(self, now: float) -> None:
        if self._child is not None:
            log.warning("the process for tunnels has ended; it starts again in a moment")
            self._child.end()
            self._child = None
            self._start_at = now + self._backoff.next()
        if now < self._start_at or self._closed:
            return
        try:
            child = ChildProcess(self._take, self._command)
        except OSError as error:
            log.warning("the process for tunnels cannot be started: %s", error)
            self._start_at = now + self._backoff.next()
            return
        with self._lock:
            self._child, self._sent = child, None
        log.info("serving models to %s", ", ".join(sorted(self._gateways)))

    def _send(self, child: ChildProcess, now: float) -> None:
        known = self._models(self._known)
        with self._lock:
            self._known = known
            serving = {target.instance for target in known.values()}
            self._draining &= serving  # what has ended is no longer to be refused
            orders = Orders(
                [GatewayOrder(url, ticket) for url, ticket in sorted(self._gateways.items())],
                known,
                sorted(self._draining),
                list(self._settings.paths),
                self._settings.insecure,
            )
        if orders == self._sent:
            return
        try:
            child.send(orders)
        except OSError:
            return  # it has ended, which the next step finds
        self._sent = orders
        self._backoff.reset()

    def _end_child(self) -> None:
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            log.info("no gateway is left: the process for tunnels ends")
            child.end()

    def _take(self, line: bytes | None) -> None:
        """A line of the child's, on a thread of its own."""
        with self._lock:
            if line is not None:
                try:
                    self._drained[msgspec.json.decode(line, type=Drained).drained] = None
                except msgspec.DecodeError:
                    log.warning("the process for tunnels wrote a line that is none of its own")
                while len(self._drained) > MAX_ENDED:
                    del self._drained[next(iter(self._drained))]
            self._ended.notify_all()
        self._wake.set()
