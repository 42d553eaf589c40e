"""Requests from gateways: each is checked, sent on to a model of this host, and its answer sent back.

    request ──► path, deployment, size are good? ──► whole body ──► model ──► head ──► body … ──► end
                    │ no                                 │             └── no answer: unreachable
                    └── refused, before a byte           └── the gateway cancels: the connection to the model ends

A gateway is not trusted: what it may ask for is decided here again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

from muster.model_http.model_connection import ModelConnection, host_header, request
from muster.model_http.model_pool import Address, ModelPool
from muster.tunnel import headers as passing
from muster.tunnel.link import INTERNAL_ERROR, STREAM_WINDOW, Headers, Stream
from muster.tunnel.paths import Paths
from muster.tunnel.paths import Refused as PathRefused
from muster.tunnel.protocol import STATUS, Refusal
from muster_agent.tunnel.orders import ModelTarget

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_BODIES_BYTES = 256 * 1024 * 1024
"""Of all requests that have not been sent on yet."""


def address_of(target: ModelTarget) -> Address:
    return target.host, target.port, None, None


class Refused(Exception):
    """The request does not reach a model."""

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(message)
        self.refusal = refusal


class Exchanges:
    """All requests of a host. `drained` is called when the last request to an instance that drains has ended."""

    def __init__(self, pool: ModelPool, drained: Callable[[str], None]) -> None:
        self.pool = pool
        self._drained = drained
        self._models: Mapping[str, ModelTarget] = {}
        self._draining: frozenset[str] = frozenset()
        self.paths = Paths()
        self._under_way: Counter[str] = Counter()
        self.bodies = 0
        """Bytes of bodies that have not been sent on."""
        self.tasks: set[asyncio.Task[None]] = set()

    def accept(self, stream: Stream, headers: Headers) -> None:
        """Take a stream that a gateway opened."""
        Exchange(self, stream, headers)

    def serve(self, models: Mapping[str, ModelTarget], draining: frozenset[str], paths: Paths) -> None:
        """From now on these models are asked, and no instance that drains gets a new request."""
        newly = draining - self._draining
        self._models, self._draining, self.paths = models, draining, paths
        self.pool.forget({address_of(target) for target in models.values()})
        for instance in newly:
            if not self._under_way[instance]:
                self._drained(instance)

    def target(self, deployment_id: str) -> ModelTarget:
        """Raises Refused."""
        found = self._models.get(deployment_id)
        if found is None:
            raise Refused(Refusal.NO_DEPLOYMENT, "this worker does not serve that deployment")
        if found.instance in self._draining:
            raise Refused(Refusal.DRAINING, "the model is about to stop here")
        return found

    def begin(self, instance: str) -> None:
        self._under_way[instance] += 1

    def end(self, instance: str) -> None:
        self._under_way[instance] -= 1
        if not self._under_way[instance]:
            del self._under_way[instance]
            if instance in self._draining:
                self._drained(instance)


class Exchange:
    """One request: the receiver of its stream, and the asker of the model's connection."""

    def __init__(self, all_: Exchanges, stream: Stream, headers: Headers) -> None:
        self._all, self._stream = all_, stream
        self._parts: list[bytes] = []
        self._size = 0
        self._connection: ModelConnection | None = None
        self._has_answered = self._is_over = False
        self._target: ModelTarget | None = None
        stream.receiver = self
        stream.on_drained = self._resume
        try:
            self._read(headers)
        except Refused as error:
            self._refuse(error)

    def _read(self, headers: Headers) -> None:
        """Raises Refused."""
        pseudo = {name: value for name, value in headers if name.startswith(b":")}
        self._method = pseudo.get(b":method", b"")
        if self._method != b"POST":
            raise Refused(Refusal.REQUEST, "only POST is passed on to models")
        try:
            self._path = self._all.paths.check(pseudo.get(b":path", b""))
        except PathRefused as error:
            raise Refused(Refusal.PATH, str(error)) from error
        self._target = self._all.target(pseudo.get(b":authority", b"").decode("latin-1"))
        self._headers = passing.to_model(headers)
        self._all.begin(self._target.instance)

    # The gateway's side

    def on_headers(self, headers: Headers) -> None:
        """Trailers of a request are not passed on."""

    def on_data(self, data: bytes) -> None:
        self._stream.consumed(len(data))
        if self._is_over:
            return
        self._size += len(data)
        self._all.bodies += len(data)
        self._parts.append(data)
        if self._size > MAX_BODY_BYTES:
            self._refuse(Refused(Refusal.REQUEST, "the body is too large"))
        elif self._all.bodies > MAX_BODIES_BYTES:
            self._refuse(Refused(Refusal.BUSY, "the bodies of all requests are too large together"))

    def on_end(self) -> None:
        if self._is_over or self._target is None:
            return
        body = b"".join(self._parts)
        self._forget_body()
        host = host_header(self._target.host, self._target.port)
        self._request = request(host, self._target.key, self._method, self._path, self._headers, body)
        self._ask()

    def on_lost(self, reason: str) -> None:
        """The gateway wants the answer no more."""
        self._finish()
        if self._connection is not None:
            self._connection.close()

    # The model's side

    def _ask(self) -> None:
        assert self._target is not None
        kept = self._all.pool.kept(address_of(self._target), self._now())
        if kept is not None:
            self._connection = kept
            kept.ask(self._request, self)
        else:
            self._connect()

    def _connect(self) -> None:
        task = asyncio.get_running_loop().create_task(self._ask_anew())
        self._all.tasks.add(task)
        task.add_done_callback(self._all.tasks.discard)

    async def _ask_anew(self) -> None:
        assert self._target is not None
        try:
            connection = await self._all.pool.opened(address_of(self._target))
        except OSError:
            self._refuse(Refused(Refusal.UNREACHABLE, "the model does not accept connections"))
            return
        if self._is_over:
            connection.close()
            return
        self._connection = connection
        connection.ask(self._request, self)

    def on_head(self, status: int, headers: Headers) -> None:
        self._has_answered = True
        self._stream.send_headers([(b":status", b"%d" % status), *passing.from_model(headers)])

    def on_body(self, data: bytes) -> None:
        self._stream.send(data)
        if self._stream.buffered >= STREAM_WINDOW and self._connection is not None:
            self._connection.pause()

    def on_end_of_answer(self) -> None:
        self._stream.send(b"", ends=True)
        if self._connection is not None and self._target is not None:
            self._all.pool.keep(address_of(self._target), self._connection, self._now())
        self._connection = None
        self._finish()

    def on_unanswered(self) -> None:
        """A kept connection may have ended just as it was used: then the request is sent once more, on a new one."""
        was_kept = self._connection is not None and self._connection.was_used
        self._connection = None
        if was_kept and not self._is_over:
            self._connect()
        else:
            self._refuse(Refused(Refusal.UNREACHABLE, "the model ended the connection without an answer"))

    def on_broken(self) -> None:
        self._connection = None
        self._stream.reset(INTERNAL_ERROR)
        self._finish()

    def _resume(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    # The end

    def _refuse(self, error: Refused) -> None:
        if not self._is_over and not self._has_answered:
            head = [(b":status", b"%d" % STATUS[error.refusal]), (passing.REFUSAL, str(error.refusal).encode())]
            self._stream.send_headers(head, ends=True)
            self._stream.stop_receiving()
        self._finish()

    def _finish(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._forget_body()
            if self._target is not None:
                self._all.end(self._target.instance)

    def _forget_body(self) -> None:
        self._all.bodies -= sum(map(len, self._parts))
        self._parts = []

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
