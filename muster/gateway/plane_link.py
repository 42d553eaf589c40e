"""Keeps a gateway in contact with its control plane: three loops, each with one request at a time in a thread.

    register  every `renew_in` s   ──► ticket keys                       goodbye at the end
    routes    every `poll` s       ──► RouteTable, RouteFile, Trust
    usage     every 60 s           ──► what changed in the ledger        once more at the end

A failure is repeated with growing pauses and jitter, so that gateways do not come back all at once. A definite refusal
of the key ends all three: the gateway serves nobody any more.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Protocol, TypeVar

from muster.api.gateways import Routes, UsageReport
from muster.gateway.plane_client import Failed, PlaneClient, Refused, Rejected
from muster.gateway.route_file import Kept, RouteFile
from muster.gateway.route_table import RouteTable
from muster.gateway.trust import State, Trust

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_POLL_SECONDS = 2.0
USAGE_SECONDS = 60.0
KEEP_SECONDS = 60.0
"""How often the time of the last contact is written where the routes stay the same."""
GOODBYE_SECONDS = 5.0
"""How long the end of a gateway waits for its last report and its goodbye, together."""
LEAST_PAUSE, MOST_PAUSE = 1.0, 30.0
SOONEST = 0.2
"""The part of a pause between two polls that passes in any case, however many callers name what is not known."""
LOOK_AGAIN_SECONDS = 2.0


class UsageSource(Protocol):
    """What the usage loop needs of the ledger. Both methods are called in a thread."""

    def reports(self) -> list[UsageReport]:
        """All sums that changed since they were confirmed."""
        ...

    def confirm(self, report: UsageReport) -> None:
        """The control plane has these sums."""
        ...


@dataclass
class Pauses:
    """Seconds between two attempts: growing with failures, within LEAST_PAUSE and MOST_PAUSE, with jitter."""

    random: Random = field(default_factory=Random)
    failures: int = 0

    def after_success(self, seconds: float) -> float:
        """A tenth shorter at most, so that gateways that started together drift apart."""
        self.failures = 0
        return seconds * self.random.uniform(0.9, 1.0)

    def after_failure(self, asked: float | None = None, most: float = MOST_PAUSE) -> float:
        """`asked`: what the control plane asked for. `most`: the longest pause of this loop."""
        self.failures += 1
        ceiling = min(most, LEAST_PAUSE * 2.0 ** min(self.failures, 10))
        pause = self.random.uniform(LEAST_PAUSE, max(LEAST_PAUSE, ceiling))
        return pause if asked is None else min(asked, 600.0) + pause


class PlaneLink:
    """`make_client` is called once for each loop, because a client belongs to one thread at a time.

    `wall` is epoch seconds. All methods belong to the event loop.
    """

    def __init__(
        self,
        *,
        url: str,
        selector: str | None,
        make_client: Callable[[], PlaneClient],
        table: RouteTable,
        trust: Trust,
        file: RouteFile,
        usage: UsageSource,
        on_ticket_keys: Callable[[Mapping[int, bytes]], object],
        on_revoked: Callable[[Refused], object] = lambda error: None,
        wall: Callable[[], float] = time.time,
        random: Random | None = None,
        usage_seconds: float = USAGE_SECONDS,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._url, self._selector = url, selector
        self._make_client = make_client
        self._table, self._trust, self._file, self._usage = table, trust, file, usage
        self._on_ticket_keys, self._on_revoked = on_ticket_keys, on_revoked
        self._wall = wall
        self._random = random or Random()
        self._usage_seconds = usage_seconds
        self._sleep = sleep
        self._routes: Routes | None = None
        self._ticket_keys: dict[int, bytes] = {}
        self._gateway_id: str | None = None
        self._written = float("-inf")
        self._keeping = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._attempts: dict[str, asyncio.Event] = {"register": asyncio.Event(), "routes": asyncio.Event()}
        self._failures: dict[str, str] = {}
        self._is_polling = False
        self._is_awaited, self._polled = asyncio.Event(), asyncio.Event()

    # Life

    def restore(self) -> Kept | None:
        """Serve from the routes that an earlier process kept. Returns them, if there are any."""
        kept = self._file.read()
        if kept is not None:
            self._trust.restore(kept.contact, self._wall())
            self._routes, self._ticket_keys = kept.routes, dict(kept.ticket_keys)
            self._table.update(kept.routes)
            self._on_ticket_keys(self._ticket_keys)
        return kept

    def start(self) -> None:
        self._tasks = [asyncio.create_task(loop) for loop in (self._register(), self._poll(), self._report())]

    async def first_attempt(self) -> str | None:
        """Wait for the first registration and the first poll. Returns why one of them failed, None if neither did."""
        for attempt in self._attempts.values():
            await attempt.wait()
        return next(iter(self._failures.values()), None)

    async def stop(self) -> None:
        """Report what is left, say goodbye, and end the loops. Takes GOODBYE_SECONDS at most."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        if tasks and self._trust.state is State.REACHABLE:
            client = self._make_client()
            with suppress(Failed, Refused, Rejected, asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(_in_thread(lambda: self._farewell(client)), GOODBYE_SECONDS)

    def _farewell(self, client: PlaneClient) -> None:
        if self._gateway_id is not None:
            client.goodbye(self._gateway_id)
        self._report_all(client)

    async def look_again(self) -> None:
        """Read the routes soon, and wait for that: a caller names a key or a model that may be new.

        Returns after LOOK_AGAIN_SECONDS at the latest, and at once while the control plane is away.
        """
        if self._trust.state is not State.REACHABLE:
            return
        with suppress(asyncio.TimeoutError, TimeoutError):
            await asyncio.wait_for(self._next_poll(), LOOK_AGAIN_SECONDS)

    async def _next_poll(self) -> None:
        """Until a poll has ended that began after this call."""
        for _ in range(2 if self._is_polling else 1):
            self._is_awaited.set()
            await self._polled.wait()

    # The loops

    async def _register(self) -> None:
        client, pauses = self._make_client(), Pauses(self._random)
        while True:
            try:
                registered = await _in_thread(lambda: client.register(self._url, self._selector))
            except Refused as error:
                return self._revoke("register", error)
            except (Failed, Rejected) as error:
                self._failed("register", error)
                pause = pauses.after_failure(error.after if isinstance(error, Failed) else None)
            else:
                self._mended("register")
                self._gateway_id = registered.gateway_id
                if dict(registered.ticket_keys) != self._ticket_keys:
                    self._ticket_keys = dict(registered.ticket_keys)
                    self._on_ticket_keys(self._ticket_keys)
                    await self._keep(changed=True)
                pause = pauses.after_success(registered.renew_in)
            self._attempts["register"].set()
            await self._sleep(pause)

    async def _poll(self) -> None:
        client, pauses = self._make_client(), Pauses(self._random)
        etag, poll = None, FIRST_POLL_SECONDS
        while True:
            self._is_polling, fresh = True, self._is_awaited.is_set()
            self._is_awaited.clear()
            ask = partial(client.routes, self._selector, etag, poll, fresh=fresh)
            try:
                polled = await _in_thread(ask)
            except Refused as error:
                return self._revoke("routes", error)
            except (Failed, Rejected) as error:
                self._trust.failed(str(error))
                self._failed("routes", error)
                # Callers wait for what comes next: long pauses would be outages of their own.
                pause = pauses.after_failure(error.after if isinstance(error, Failed) else None, max(poll, 10.0))
            else:
                etag, poll = polled.etag, polled.poll
                self._mended("routes")
                self._trust.reached(self._wall())
                if polled.routes is not None:
                    self._routes = polled.routes
                    self._table.update(polled.routes)
                await self._keep(changed=polled.routes is not None)
                pause = pauses.after_success(poll)
            self._attempts["routes"].set()
            self._is_polling = False
            self._polled.set()
            self._polled = asyncio.Event()
            await self._rest(pause)

    async def _rest(self, seconds: float) -> None:
        """Until the next poll, which is sooner where somebody waits for it."""
        await self._sleep(SOONEST * seconds)
        rest = asyncio.ensure_future(self._sleep((1 - SOONEST) * seconds))
        awaited = asyncio.ensure_future(self._is_awaited.wait())
        try:
            await asyncio.wait([rest, awaited], return_when=asyncio.FIRST_COMPLETED)
        finally:
            rest.cancel()
            awaited.cancel()

    async def _report(self) -> None:
        client, pauses = self._make_client(), Pauses(self._random)
        pause = pauses.after_success(self._usage_seconds)
        while True:
            await self._sleep(pause)
            try:
                await _in_thread(lambda: self._report_all(client))
            except (Failed, Refused) as error:  # a revoked key shows in the other loops
                self._failed("usage", error)
                pause = pauses.after_failure(error.after if isinstance(error, Failed) else None, self._usage_seconds)
            else:
                self._mended("usage")
                pause = pauses.after_success(self._usage_seconds)

    def _report_all(self, client: PlaneClient) -> None:
        """Report each sum that changed. One that the control plane does not take is dropped, as the log says."""
        for report in self._usage.reports():
            try:
                client.report(report)
            except Rejected:
                for each in report.sums:
                    self._report_one(client, UsageReport(report.ledger_id, [each]))
            else:
                self._usage.confirm(report)

    def _report_one(self, client: PlaneClient, report: UsageReport) -> None:
        try:
            client.report(report)
        except Rejected as error:
            log.error("usage of key %s is dropped: %s", report.sums[0].key_id, error)
        self._usage.confirm(report)

    # What follows from answers

    async def _keep(self, *, changed: bool) -> None:
        """Write the routes and the time of the contact, if either is worth it."""
        now = time.monotonic()
        if self._routes is None or self._trust.contact is None or not (changed or now - self._written >= KEEP_SECONDS):
            return
        self._written = now
        contact, routes, keys = self._trust.contact, self._routes, dict(self._ticket_keys)
        async with self._keeping:
            await _in_thread(lambda: self._file.write(contact, routes, keys))

    def _revoke(self, what: str, error: Refused) -> None:
        self._failures[what] = str(error)
        log.error("the control plane refuses this gateway's key, so it serves nobody any more: %s", error)
        self._trust.revoke(str(error))
        self._file.remove()
        self._routes, self._ticket_keys = None, {}
        self._table.clear()
        self._on_ticket_keys({})
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        for attempt in self._attempts.values():
            attempt.set()
        self._on_revoked(error)

    def _failed(self, what: str, error: Exception) -> None:
        """Log a failure once, until it is another one."""
        if self._failures.get(what) != str(error):
            self._failures[what] = str(error)
            log.warning("%s failed, and is tried again: %s", WHAT[what], error)

    def _mended(self, what: str) -> None:
        if self._failures.pop(what, None) is not None:
            log.info("%s works again", WHAT[what])


WHAT = {"register": "registering this gateway", "routes": "reading the routes", "usage": "reporting usage"}


async def _in_thread(work: Callable[[], T]) -> T:
    """What `work` returns or raises, in a thread that nobody waits for when the process ends."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def resolve(result: Any, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def run() -> None:
        result, raised = None, None
        try:
            result = work()
        except Exception as error:  # raised where it is awaited
            raised = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(resolve, result, raised)

    threading.Thread(target=run, name="control plane", daemon=True).start()
    return await done
