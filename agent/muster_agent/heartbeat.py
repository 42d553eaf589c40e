"""The heartbeat: says that this host lives, and takes what is wanted of it.

`tick(now)` is one iteration; it returns the seconds until the next and waits for nothing but the control plane.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Literal

from msgspec.structs import replace

from muster.api import usage as usage_figures
from muster.api.messages import Disk, Gateways, GpuInfo, GpuUsage, Heartbeat, Image, Registration, ShortHeartbeat
from muster.api.sizes import fitting
from muster_agent.commands import CommandReceiver
from muster_agent.control.backoff import Backoff
from muster_agent.control.client import REQUEST_TIMEOUT_SECONDS, Answer, Api, Fatal, Retry
from muster_agent.control.clock_check import ClockCheck
from muster_agent.host.clocks import Moment
from muster_agent.operations.disk import gist
from muster_agent.runner.context import HostConfig
from muster_agent.state import membership
from muster_agent.state.db import JournalFull
from muster_agent.state.dir import Identity, StateDir, StateError
from muster_agent.state.state_check import check_state
from muster_agent.wiring import Journal, Runtime

log = logging.getLogger(__name__)

PARKED_SECONDS = 3600.0
MAX_INTERVAL_SECONDS = 3600.0
GOODBYE_TIMEOUT_SECONDS = (2.0, 3.0)
SEND_GPUS_EVERY_SECONDS = 3600.0
"""Seconds after which the GPUs are sent again, changed or not: an older database may have been restored."""
REPEAT_GPUS_SECONDS = 60.0
"""Seconds for which a change of the GPUs is repeated: longer than any request can be on its way."""
MAX_LISTED = 1024
"""Images, deployments and acks in one heartbeat."""
MAX_IMAGE_BYTES = 512 * 1024
"""Of the images in one heartbeat, whose body has at most 1 MiB."""

INVALID = 400
"""The status with which a control plane that does not know short heartbeats answers one."""

Sample = Callable[[], tuple[list[GpuUsage], Disk | None]]


@dataclass(frozen=True)
class Readings:
    """The last measurements of the host: `sample` is Sampler.latest, `gpus` returns the GPUs if they are known."""

    sample: Sample
    gpus: Callable[[], GpuInfo | None] = lambda: None


@dataclass(frozen=True)
class Confirmed:
    """What the control plane knows by `digest`, the answer to a heartbeat: all of it but its figures and its news."""

    digest: str
    lasting: Heartbeat


class RegistrationRejected(Exception):
    """The control plane will not have this agent, which has never been a worker: nothing to do but to say so."""


class HeartbeatLoop:
    """`registration` is the body of every registration of this process, but for its GPUs, which `readings` has."""

    def __init__(
        self,
        api: Api,
        registration: Registration,
        host: HostConfig,
        journal: Journal,
        state: StateDir,
        readings: Readings,
        on_gateways: Callable[[Gateways], None] = lambda gateways: None,
    ) -> None:
        self._api = api
        self._on_gateways = on_gateways
        self._registration = registration
        self._host = host
        self._journal = journal
        self._state = state
        self._readings = readings
        self._backoff = Backoff(host.random)
        self._clock_check = ClockCheck(host.conditions)
        self._receiver = CommandReceiver(journal, host.clocks.boottime)
        self._lock = Lock()
        self._images_sent: tuple[Image, ...] | None = None
        self._paths_sent: object = None
        self._gpus_sent: GpuInfo | None = None
        self._confirmed: Confirmed | None = None
        self._gpus_doubted_until = self._gpus_due = float("-inf")
        self.identity: Identity | None = None
        self._unjournaled: Identity | None = None
        self.runtime: Runtime | None = None

    def start(self) -> None:
        """Take up the journal's work, before and without any word from the control plane."""
        parked = self._state.parked
        if parked is not None:
            log.error("parked (%s): this agent does nothing until it is started with --rejoin", parked)
            return
        worker_id = self._journal.database.meta("worker_id")
        # Without its token (--rejoin) it may become another worker: what it is then is for the registration to say.
        if worker_id is not None and self._journal.database.meta("token") is not None:
            self._build_runtime(worker_id)

    def run(self, clock: Callable[[], float], wait: Callable[[float], bool]) -> None:
        """Beat until `wait(seconds)` says that it is over. `clock` is monotonic; a slow beat moves no later one."""
        due = clock()
        while not wait(max(0.0, due - clock())):
            try:
                delay = self.tick(self._host.clocks.moment())
            except RegistrationRejected:
                raise
            except StateError:
                if self.runtime is not None:
                    self.runtime.close()
                self.goodbye()  # so that the agent that is started next registers at once
                raise
            except Exception:
                # Whatever one answer held, the next heartbeat is due: a host that falls silent counts as lost.
                log.exception("this heartbeat failed")
                delay = self._backoff.next()
            due = max(due + delay, clock())

    def tick(self, now: Moment) -> float:
        """Register if need be, beat, and take the commands. Seconds until the next one. Raises Refused, StateError."""
        if self._state.parked is not None:
            return PARKED_SECONDS
        self._state.check()
        held_up = sorted({*self.runtime.manager.held_up(), *self._receiver.waiting}) if self.runtime is not None else []
        check_state(self._journal.database, self._host.conditions, held_up)
        try:
            identity = self.identity or self._register()
            if self._unjournaled is identity:
                self._store_identity(identity)
            return self._beat(identity, now)
        except Retry as error:
            wait = self._backoff.next(error.after)
            failed = "no heartbeat" if self.identity is not None else "not registered"
            log.warning("%s (%s)%s; the next attempt is in %.0f s", failed, error, self._since(now), wait)
            return wait
        except Fatal as error:
            log.warning("the control plane refuses: %s", error)
            if self.identity is not None:
                self.refused(self.identity, error)
            elif error.superseded:
                self._refused_as_another(error)
            elif self.runtime is None:
                raise RegistrationRejected(str(error)) from error
            return self._backoff.next()

    def refused(self, identity: Identity, error: Fatal) -> None:
        """Register again or park, since a request with this identity was refused. May be called by any thread.

        A 400 for a session from the future counts too: the control plane's clock and database were put back.
        """
        with self._lock:
            if identity is not self.identity:
                return
            if error.superseded or error.unauthorized or error.status == 400:
                self.identity = None
        if error.superseded:
            self._park(error)

    def next_start_in(self, deployment_id: str, generation: int | None) -> int | None:
        """Seconds until a deployment's next start; None where that is not known. Any thread."""
        runtime = self.runtime
        runner = runtime.manager.runners.get(deployment_id) if runtime is not None else None
        return runner.next_start_in(generation) if runner is not None else None

    def goodbye(self) -> None:
        """Report that this worker goes offline, in one attempt. Needs only memory: the state folder may be gone."""
        identity = self.identity
        if identity is None or self._state.parked is not None:
            return
        if self._unjournaled is identity:
            # The disk may be mended since the last heartbeat. The next start is refused with the token before this one.
            with suppress(StateError):
                self._journal.database.find_trouble()
                self._store_identity(identity)
        try:
            self._send_goodbye(identity)
        except (Retry, Fatal) as error:
            log.info("no goodbye: %s", error)

    def _send_goodbye(self, identity: Identity) -> None:
        """Raises Retry, Fatal."""
        try:
            self._send(identity, "offline", GOODBYE_TIMEOUT_SECONDS)
        except (Retry, Fatal):
            raise
        except Exception:
            # The journal may be gone or damaged in any way by now; the goodbye needs nothing of it but these ids.
            log.info("the goodbye lists no more than the deployments: the journal cannot be read")
            body = Heartbeat("offline", [], self.runtime.manager.active()[:MAX_LISTED] if self.runtime else [])
            body.session = identity.session
            self._api.heartbeat(identity.worker_id, identity.token, body, GOODBYE_TIMEOUT_SECONDS)

    # Registration

    def _register(self) -> Identity:
        """Raises Retry, Fatal."""
        database = self._journal.database
        before_rejoin = database.meta("token_before_rejoin")
        earlier = database.meta("token") or before_rejoin
        gpus = self._readings.gpus() or self._registration.gpu_info
        body = replace(self._registration, token=self._registration.token or earlier or "", gpu_info=gpus)
        self._doubt_gpus()
        try:
            answer = self._api.register(body, earlier)
        except Fatal as error:
            outdated = error.status == 401 or (error.superseded and before_rejoin is not None)
            if not outdated or earlier is None or not self._registration.token:
                raise
            # The token of the last time is not good any more; the one that the owner gave may be.
            answer = self._api.register(body, None)
        identity = Identity(answer.worker_id, answer.token, answer.session)
        self._become(identity)
        if isinstance(answer.gateways, Gateways):
            self._on_gateways(answer.gateways)
        self._gpus_sent = gpus
        log.info("registered as worker %s (session %d)", identity.worker_id, identity.session)
        return identity

    def _become(self, identity: Identity) -> None:
        before = self.runtime.context.worker_id if self.runtime is not None else identity.worker_id
        if self.runtime is not None and before != identity.worker_id:
            log.warning("this is another worker than before; what runs for %s goes on as orphans", before)
            self.runtime.close()
            self.runtime = None
        if membership.is_another(self._journal.database, identity.worker_id):
            try:
                self._journal.deployments_table.clear()
                self._journal.database.set_meta(inbox=None)
            except JournalFull as error:
                # What is journaled is another worker's: as this one, the agent would run all of it again.
                raise Retry(f"this host is another worker now, and its journal cannot be written: {error}") from error
        self._store_identity(identity)
        self._images_sent = self._paths_sent = None
        self._confirmed = None
        self.identity = identity
        self._journal.lease.note(self._host.clocks.moment())
        if self.runtime is None:
            self._build_runtime(identity.worker_id)

    def _store_identity(self, identity: Identity) -> None:
        try:
            membership.become(self._journal.database, identity)
        except JournalFull:
            if identity is not self._unjournaled:
                log.error("the new registration could not be journaled yet: it is tried with every heartbeat")
            self._unjournaled = identity
        else:
            self._unjournaled = None

    def _build_runtime(self, worker_id: str) -> None:
        self.runtime = Runtime.build(worker_id, self._host, self._journal)
        self.runtime.list_instances(self._host.spawn)
        self.runtime.resume(self._host.spawn)

    def _refused_as_another(self, error: Fatal) -> None:
        """Park, unless the journal cannot be written: it may then lack what an earlier process registered as.

        The control plane accepts this host again once it has not heard of that process for a while.
        """
        if self._journal.database.trouble is None:
            self._park(error)
        else:
            log.warning("not parked, since the journal cannot be written, and may not know the last registration")

    def _park(self, error: Fatal) -> None:
        log.error("parked: %s. What runs is left alone; --rejoin makes this agent a worker again", error)
        try:
            self._state.park(str(error))
        except OSError as failure:
            log.error("that it is parked cannot be written down (%s): after a restart it asks again", failure.strerror)
        if self.runtime is not None:
            self.runtime.close()

    # Heartbeat

    def _beat(self, identity: Identity, now: Moment) -> float:
        answer = self._send(identity, "online", REQUEST_TIMEOUT_SECONDS)
        if self._backoff.failing:
            log.info("heartbeat again%s", self._since(now))
        self._backoff.reset()
        self._clock_check.note(self._api.clock_ahead)
        self._journal.lease.note(now)
        if answer.gateways is not None:
            self._on_gateways(answer.gateways)
        if self.runtime is not None and self._receiver.receive(answer.commands, now.boottime, self.runtime):
            self._journal.inbox.note(answer.inbox)
        return min(max(1.0, answer.next_heartbeat_in), MAX_INTERVAL_SECONDS)

    def _send(self, identity: Identity, status: Literal["online", "offline"], timeout: tuple[float, float]) -> Answer:
        usage, disk = self._readings.sample()
        paths = gist(disk)
        images = self.runtime.context.instance_cache.images if self.runtime else None
        acks = self._receiver.acks[:MAX_LISTED]
        if self.runtime is not None:
            self.runtime.poller.check()
        gpus = self._readings.gpus()
        body = Heartbeat(
            status=status,
            gpu_usage=usage,
            active_deployments=self.runtime.manager.active()[:MAX_LISTED] if self.runtime else [],
            session=identity.session,
            journal_id=self._journal.database.journal_id,
            inbox=self._journal.inbox.last,
            acks=acks,
            disk=replace(disk, paths=None) if disk is not None and paths == self._paths_sent else disk,
            images=fitting(images[:MAX_LISTED], MAX_IMAGE_BYTES)
            if images is not None and images != self._images_sent
            else None,
            conditions=self._host.conditions.current() or None,
            orphans=(self.runtime.manager.orphans(gpus)[:MAX_LISTED] or None) if self.runtime else None,
            gpu_info=gpus if self._are_gpus_due(gpus) else None,
            pending_deployments=self.runtime.manager.pending()[:MAX_LISTED] if self.runtime else [],
        )
        answer = self._send_short(identity, body, timeout) or self._send_full(identity, body, timeout)
        self._receiver.acked(acks)
        self._images_sent, self._paths_sent, self._gpus_sent = images, paths, gpus
        return answer

    def _send_full(self, identity: Identity, body: Heartbeat, timeout: tuple[float, float]) -> Answer:
        answer = self._api.heartbeat(identity.worker_id, identity.token, body, timeout)
        self._confirmed = Confirmed(answer.digest, _lasting(body)) if answer.digest else None
        return answer

    def _send_short(self, identity: Identity, body: Heartbeat, timeout: tuple[float, float]) -> Answer | None:
        """Send the figures alone, if nothing else changed. None where the control plane needs all of `body`.

        After any failure the next heartbeat is a full one.
        """
        confirmed, self._confirmed = self._confirmed, None
        if confirmed is None or _has_news(body) or _lasting(body) != confirmed.lasting:
            return None
        short = ShortHeartbeat(identity.session, confirmed.digest, usage_figures.pack(body))
        try:
            answer = self._api.short_heartbeat(identity.worker_id, identity.token, short, timeout)
        except Fatal as error:
            if error.status == INVALID:
                return None
            raise
        if answer.full and answer.next_heartbeat_in == 0:
            return None
        self._confirmed = None if answer.full else confirmed
        return Answer([], self._journal.inbox.last, answer.next_heartbeat_in)

    def _are_gpus_due(self, gpus: GpuInfo | None) -> bool:
        now = self._host.clocks.monotonic()
        if gpus != self._gpus_sent or now >= self._gpus_due:
            self._doubt_gpus()
        return now < self._gpus_doubted_until

    def _doubt_gpus(self) -> None:
        """Repeat the GPUs for a while: a request that timed out may still arrive, after a newer one."""
        now = self._host.clocks.monotonic()
        self._gpus_doubted_until, self._gpus_due = now + REPEAT_GPUS_SECONDS, now + SEND_GPUS_EVERY_SECONDS

    def _since(self, now: Moment) -> str:
        age = self._journal.lease.age(now)
        return f"; the last one was {age:.0f} s ago" if age is not None else ""


def _has_news(body: Heartbeat) -> bool:
    """Whether the heartbeat has something that is sent only when there is news of it."""
    paths = body.disk.paths if body.disk is not None else None
    reports = (body.images, body.gpu_info, paths)
    return body.status != "online" or bool(body.acks) or any(report is not None for report in reports)


def _lasting(body: Heartbeat) -> Heartbeat:
    """The heartbeat without its figures and its news."""
    return replace(body, gpu_usage=[], disk=None, acks=[], images=None, gpu_info=None)
