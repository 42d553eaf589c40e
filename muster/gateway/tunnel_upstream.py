"""A replica behind a tunnel: one HTTP/2 stream for each request."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from muster.gateway.upstream import Broken, Headers, Unavailable, UpstreamRequest, UpstreamResponse
from muster.tunnel import headers as passing
from muster.tunnel.link import Headers as RawHeaders
from muster.tunnel.link import LinkLost, Stream, TooManyStreams
from muster.tunnel.protocol import Refusal

if TYPE_CHECKING:
    from muster.gateway.tunnels import Tunnel

LOST = "tunnel-lost"
NOT_THE_REPLICAS_FAULT = frozenset({Refusal.DRAINING, Refusal.BUSY, Refusal.PATH, Refusal.REQUEST})


class TunnelUpstream:
    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Raises Unavailable."""
        answer = TunnelResponse()
        try:
            stream = self._tunnel.carrier.link.open_stream(answer)
        except TooManyStreams as error:
            raise Unavailable(
                "busy", "the tunnel carries as many requests as it takes", is_replica_fault=False
            ) from error
        except LinkLost as error:
            raise _unavailable(LOST) from error
        answer.stream = stream
        head = [
            (b":method", request.method),
            (b":scheme", b"https"),
            (b":authority", request.deployment_id.encode()),
            (b":path", request.path),
            *request.headers,
        ]
        stream.send_headers(head, ends=not request.body)
        if request.body:
            stream.send(request.body, ends=True)
        self._tunnel.carrier.woken()
        try:
            await answer.wait_for_head()
        except BaseException:
            answer.cancel()
            raise
        return answer


class TunnelResponse:
    """What arrives on a stream. It is read by one reader."""

    stream: Stream

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self._parts: deque[bytes] = deque()
        self._held = 0
        self._has_ended = False
        self._reason: str | None = None
        self._waiter: asyncio.Future[None] | None = None

    # The stream's side

    def on_headers(self, headers: RawHeaders) -> None:
        status = 0
        refusal = b""
        for name, value in headers:
            if name == b":status":
                status = int(value) if value.isdigit() and len(value) == 3 else 0
            elif name == passing.REFUSAL:
                refusal = value
        if not 200 <= status <= 599:
            self._fail("bad-answer")
        elif refusal:
            self._fail(refusal.decode("latin-1")[:32])
        else:
            self.status, self.headers = status, passing.from_model(headers)
            self._wake()

    def on_data(self, data: bytes) -> None:
        if self._reason is None:
            self._parts.append(data)
            self._wake()

    def on_end(self) -> None:
        if not self.status and self._reason is None:
            self._reason = "bad-answer"
        self._has_ended = True
        self._wake()

    def on_lost(self, reason: str) -> None:
        """A stream that the agent ended early is the model's doing; any other end is the tunnel's."""
        if not self._has_ended and self._reason is None:
            self._reason = "model-lost" if reason in ("reset", "cancelled") else LOST
        self._wake()

    def _fail(self, reason: str) -> None:
        self._reason = reason
        self.stream.reset()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The reader's side

    async def wait_for_head(self) -> None:
        """Raises Unavailable."""
        while not self.status and self._reason is None:
            await self._arrival()
        if self._reason is not None and not self._parts:
            raise _unavailable(self._reason)

    async def read(self) -> bytes:
        """The next bytes; nothing at the end. Raises Broken.

        The bytes of one call count as held until the next call, by which the caller has taken them: a caller that
        stalls holds one window.
        """
        if self._held:
            self.stream.consumed(self._held)
            self._held = 0
        while not self._parts:
            if self._has_ended:
                return b""
            if self._reason is not None:
                raise Broken(self._reason, "the answer ended early: the connection to the model was lost")
            await self._arrival()
        if len(self._parts) == 1:
            data = self._parts.popleft()
        else:
            data = b"".join(self._parts)
            self._parts.clear()
        self._held = len(data)
        return data

    def cancel(self) -> None:
        self._parts.clear()
        if not self._has_ended:
            self._reason = self._reason or "cancelled"
        self.stream.reset()

    async def _arrival(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


def _unavailable(reason: str) -> Unavailable:
    texts = {
        Refusal.DRAINING: "the model is about to stop on this worker",
        Refusal.NO_DEPLOYMENT: "the worker does not serve this model any more",
        Refusal.UNREACHABLE: "the model does not answer on its host",
        Refusal.PATH: "the owner of the worker's host does not let gateways ask for this path",
        Refusal.REQUEST: "the worker's agent cannot pass this request on",
        Refusal.BUSY: "the worker's agent takes no more requests at the moment",
        LOST: "the connection to the worker was lost",
        "model-lost": "the model ended the request",
    }
    known = {str(key): text for key, text in texts.items()}
    message = known.get(reason, "the worker's answer is none that a model gives")
    return Unavailable(
        reason if reason in known else "bad-answer", message, is_replica_fault=reason not in NOT_THE_REPLICAS_FAULT
    )
