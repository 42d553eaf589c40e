"""One request of a caller whose key is good, from its body to the end of its answer.

    body, model ──► scope ──► limits ──► a replica ──► head and first bytes ──► the rest ──► counted
                                         ▲   │        │
               waits for a model that starts │        └── no byte came: another replica, at most twice
                                         └───┘
    after the first byte: a stream ends with an event that has the error; another answer is cut off

A caller that leaves cancels the request, down to the engine.
"""

from __future__ import annotations

import asyncio
import binascii
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from muster.api.gateways import Caller, Replica, StartingModel
from muster.gateway import model_list, openai_request, token_usage
from muster.gateway import openai_errors as errors
from muster.gateway.access_lines import Access, AccessLog
from muster.gateway.balancing import Balancer
from muster.gateway.circuits import Circuits
from muster.gateway.direct_upstream import Direct
from muster.gateway.holding import COMMENT_AFTER_SECONDS, Holding, not_ready
from muster.gateway.ledger import Ledger
from muster.gateway.limits import Limits
from muster.gateway.openai_errors import Headers, OpenAIError
from muster.gateway.openai_request import Asked
from muster.gateway.telemetry import Telemetry
from muster.gateway.token_usage import StreamUsage, Used
from muster.gateway.upstream import Broken, Unavailable, Upstream, UpstreamRequest, UpstreamResponse
from muster.tunnel import headers as passing
from muster.tunnel.protocol import Refusal

MOST_RETRIES = 2
GATHERED_BYTES = 64 * 1024
"""An answer of this size that is no stream leaves in one piece, with its length."""
SESSION = b"x-session-id"
"""A header by which callers name a conversation, so that its requests go to one replica."""
CLIENT_LEFT = 499
STREAM = b"text/event-stream"
NOT_NOW = frozenset((Refusal.DRAINING, Refusal.NO_DEPLOYMENT))
"""Why a worker refuses a model that the routes have there: it is about to stop, or has just become ready. The worker
knows first, so the request waits for the next routes, as one for a model that starts."""
REFUSED_SECONDS = 0.5
"""How long a replica that refused is not asked again by the same request."""
WORTH_A_RETRY = frozenset((502, 503, 504))
"""Statuses of a model that another replica may not have."""

Message = dict[str, Any]


class Table(Protocol):
    def replicas(self, model: str) -> tuple[Replica, ...]: ...

    def starting(self, model: str) -> tuple[StartingModel, ...]: ...

    def models(self) -> list[str]: ...

    def caller(self, secret: str, now: float) -> Caller | None: ...

    async def wait_change(self, timeout: float) -> bool: ...


class TunnelRegistry(Protocol):
    def upstream(self, worker_id: str) -> Upstream | None: ...

    async def wait_change(self) -> None: ...


async def nothing_new() -> None:
    """For a gateway whose routes nobody changes."""


@dataclass(frozen=True)
class Parts:
    """What requests are served with. `hold` is in seconds, `wall` epoch seconds.

    `look_again` asks the control plane for what may be new, and returns once it has answered, or does not.
    """

    table: Table
    tunnels: TunnelRegistry
    limits: Limits
    ledger: Ledger
    telemetry: Telemetry
    access_log: AccessLog
    hold: float
    wall: Callable[[], float] = time.time
    look_again: Callable[[], Awaitable[None]] = nothing_new
    balancer: Balancer = field(default_factory=Balancer)
    holding: Holding = field(default_factory=Holding)
    direct: Direct = field(default_factory=Direct)
    circuits: Circuits = field(default_factory=Circuits)


@dataclass(frozen=True)
class Arrived:
    """A request as it arrived: `path` is a clean one, `body` whole. `content_type` and the rest are from its head."""

    path: bytes
    headers: Headers
    body: bytes
    client: str

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)


class Reply:
    """The answer to a caller: how much of it was sent, and how it ends."""

    def __init__(self, send: Callable[[Message], Any]) -> None:
        self._send = send
        self.request_id = f"req_{binascii.hexlify(os.urandom(12)).decode()}"
        self.headers: Headers = [(b"x-request-id", self.request_id.encode())]
        self.status = 0
        self.is_stream = False

    @property
    def has_begun(self) -> bool:
        return self.status != 0

    async def begin(self, status: int, headers: Headers) -> None:
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, *self.headers]})

    async def pass_on(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        length = (b"content-length", b"%d" % len(body))
        await self.begin(status, [*headers, length])
        await self.end(body)

    async def comment(self, text: str) -> None:
        """A line that clients of event streams ignore; the stream begins with it."""
        if not self.has_begun:
            self.is_stream = True
            await self.begin(200, [(b"content-type", STREAM), (b"cache-control", b"no-cache")])
        await self.pass_on(f": {text}\n\n".encode())

    async def fail(self, error: OpenAIError) -> None:
        """End the answer with an error. Raises Cut where only cutting it off is left."""
        if not self.has_begun:
            head: Headers = [(b"content-type", b"application/json"), *error.headers]
            await self.whole(error.status, head, error.body())
        elif self.is_stream:
            await self.end(error.event())
        else:
            raise Cut(error.message)


class Cut(Exception):
    """The answer cannot be ended as what it was said to be: the connection is to be closed."""


class Exchange:
    """One request and its answer."""

    def __init__(self, parts: Parts, caller: Caller, arrived: Arrived, send: Callable[[Message], Any]) -> None:
        self._parts, self._caller, self._arrived = parts, caller, arrived
        self._began_at, self._began = parts.wall(), time.perf_counter()
        self.reply = Reply(send)
        self._asked: Asked | None = None
        self._retries = 0
        self._replica: Replica | None = None
        self._first: float | None = None
        self._used: Used | None = None
        self._error: OpenAIError | None = None
        self._refused: dict[str, float] = {}
        self._held_since: float | None = None
        self._comment_at = 0.0

    async def run(self) -> None:
        """Serve the request. Raises Cut, and CancelledError where the caller left."""
        try:
            await self._serve()
        except OpenAIError as error:
            self._error = error
            self._parts.telemetry.rejected(error.code)
            await self.reply.fail(error)
        except asyncio.CancelledError:
            self.reply.status = CLIENT_LEFT
            raise
        finally:
            self._account()

    async def _serve(self) -> None:
        """Raises OpenAIError, Cut."""
        caller = self._caller
        content_type = self._arrived.header(b"content-type") or b""
        asked = self._asked = openai_request.read(self._arrived.body, content_type)
        if caller.models and asked.model not in caller.models:
            raise errors.model_not_allowed(asked.model)
        verdict = self._parts.limits.admit(caller, self._parts.wall())
        self.reply.headers += verdict.headers
        if not verdict.allowed:
            raise OpenAIError(429, "rate_limit_exceeded", verdict.message, retry_after=verdict.retry_after)
        body, hides = token_usage.with_usage(asked, self._arrived.path)
        self._parts.telemetry.in_flight(asked.model, 1)
        try:
            await self._ask(asked, body, hides)
        finally:
            self._parts.telemetry.in_flight(asked.model, -1)

    # A replica

    async def _ask(self, asked: Asked, body: bytes, hides: bool) -> None:
        """Send the request to replicas until one answers. Raises OpenAIError, Cut."""
        tried: list[Replica] = []
        while True:
            replica, upstream = await self._way(asked, tried)
            self._replica = replica
            deployment_id = replica.deployment_id
            request = UpstreamRequest(
                deployment_id, b"POST", self._arrived.path, passing.to_model(self._arrived.headers), body
            )
            self._parts.circuits.begin(deployment_id, time.monotonic())
            self._parts.balancer.begin(deployment_id)
            try:
                response, first = await self._answered(upstream, request, is_last=len(tried) >= MOST_RETRIES)
                try:
                    self._parts.circuits.succeeded(deployment_id)
                    await self._pass_on(asked, response, first, hides)
                finally:
                    response.cancel()
                return
            except Unavailable as error:
                self._count_failure(deployment_id, error)
                if error.reason in NOT_NOW:
                    self._refused[deployment_id] = time.monotonic() + REFUSED_SECONDS
                else:
                    tried.append(replica)
                if len(tried) > MOST_RETRIES:
                    raise OpenAIError(
                        502, "model_unavailable", f"no replica of the model answered: {error}", retry_after=2
                    ) from error
                self._retries += 1
                self._parts.telemetry.retry(asked.model, error.reason)
            except BaseException:
                self._parts.circuits.left(deployment_id)
                raise
            finally:
                self._parts.balancer.end(deployment_id)

    def _count_failure(self, deployment_id: str, error: Unavailable) -> None:
        if error.is_replica_fault:
            self._parts.circuits.failed(deployment_id, time.monotonic())
        else:
            self._parts.circuits.left(deployment_id)

    async def _answered(
        self, upstream: Upstream, request: UpstreamRequest, *, is_last: bool
    ) -> tuple[UpstreamResponse, bytes]:
        """The answer with its first bytes. Until they are here, another replica may answer. Raises Unavailable."""
        response = await upstream.send(request)
        try:
            first = await response.read()
        except Broken as error:
            response.cancel()
            raise Unavailable(error.reason, str(error)) from error
        except BaseException:
            response.cancel()
            raise
        if response.status in WORTH_A_RETRY and not is_last:
            response.cancel()
            raise Unavailable(f"status-{response.status}", f"the model answers {response.status}")
        return response, first

    def _candidates(self, model: str, tried: Sequence[Replica]) -> list[tuple[Replica, Upstream]]:
        """Replicas that can be asked now. One that was tried comes last, and its worker's others before it."""
        now = time.monotonic()
        found = [
            (replica, upstream)
            for replica in self._parts.table.replicas(model)
            if self._refused.get(replica.deployment_id, now) <= now
            and (upstream := self._upstream(replica)) is not None
        ]
        closed = [pair for pair in found if self._parts.circuits.allows(pair[0].deployment_id, now)]
        found = closed or found
        workers = {replica.worker_id for replica in tried}
        ids = {replica.deployment_id for replica in tried}
        elsewhere = [pair for pair in found if pair[0].worker_id not in workers]
        return elsewhere or [pair for pair in found if pair[0].deployment_id not in ids] or found

    def _upstream(self, replica: Replica) -> Upstream | None:
        upstream = self._parts.tunnels.upstream(replica.worker_id) if replica.tunnel else None
        if upstream is None and replica.endpoint is not None:
            upstream = self._parts.direct.upstream(replica.endpoint, replica.key)
        return upstream

    async def _way(self, asked: Asked, tried: Sequence[Replica]) -> tuple[Replica, Upstream]:
        """A replica, and the way to it. Waits for one while the model is starting. Raises OpenAIError."""
        found = self._candidates(asked.model, tried)
        if not found:
            found = await self._hold(asked, tried)
        ways = {replica.deployment_id: upstream for replica, upstream in found}
        conversation = self._arrived.header(SESSION) or asked.turn
        replica = self._parts.balancer.choose([replica for replica, _ in found], conversation)
        return replica, ways[replica.deployment_id]

    async def _hold(self, asked: Asked, tried: Sequence[Replica]) -> list[tuple[Replica, Upstream]]:
        """Raises OpenAIError where the model does not come up in time, or will not."""
        parts, model = self._parts, asked.model
        if not self._is_known(model):
            await parts.look_again()
        self._check_known(model)
        loop = asyncio.get_running_loop()
        if self._held_since is None:
            self._held_since, self._comment_at = loop.time(), loop.time() + COMMENT_AFTER_SECONDS
        began = self._held_since
        with parts.holding.place(model, self._caller.key_id, len(self._arrived.body)):
            parts.telemetry.queued(model, 1)
            try:
                while (left := began + parts.hold - loop.time()) > 0:
                    until_comment = max(0.0, self._comment_at - loop.time()) if asked.stream else left
                    seconds = min(left, until_comment, REFUSED_SECONDS if self._refused else left)
                    found = await self._changed(seconds, lambda: self._candidates(model, tried))
                    if found:
                        return found
                    self._check_known(model)
                    if asked.stream and loop.time() >= self._comment_at:
                        await self.reply.comment(f"waiting for the model {model}")
                        self._comment_at = loop.time() + COMMENT_AFTER_SECONDS
            finally:
                parts.telemetry.queued(model, -1)
        raise not_ready(model, parts.table.starting(model), loop.time() - began, parts.wall())

    def _is_known(self, model: str) -> bool:
        return bool(self._parts.table.replicas(model) or self._parts.table.starting(model))

    def _check_known(self, model: str) -> None:
        """Raises OpenAIError for a model that neither runs nor starts."""
        if not self._is_known(model):
            raise errors.model_not_found(model, model_list.allowed(self._caller, self._parts.table.models()))

    async def _changed(
        self, seconds: float, look: Callable[[], list[tuple[Replica, Upstream]]]
    ) -> list[tuple[Replica, Upstream]]:
        """Look again once the routes or the tunnels have changed, or after so many seconds."""
        waits = [
            asyncio.ensure_future(self._parts.table.wait_change(seconds)),
            asyncio.ensure_future(self._parts.tunnels.wait_change()),
        ]
        try:
            await asyncio.sleep(0)  # both wait by now: what changed before is seen by this look, and later ones wake
            if found := look():
                return found
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return look()

    # The answer

    async def _pass_on(self, asked: Asked, response: UpstreamResponse, first: bytes, hides: bool) -> None:
        """Raises OpenAIError, Cut."""
        content_type = next((value for name, value in response.headers if name == b"content-type"), b"")
        if content_type.startswith(STREAM):
            await self._pass_stream(asked, response, first, hides)
        else:
            await self._pass_whole(response, first)

    async def _pass_whole(self, response: UpstreamResponse, first: bytes) -> None:
        parts, size = [first], len(first)
        try:
            while size < GATHERED_BYTES and (part := await response.read() if parts[-1] else b""):
                parts.append(part)
                size += len(part)
            body = b"".join(parts)
            if size < GATHERED_BYTES and not self.reply.has_begun:
                self._first = time.perf_counter() - self._began
                self._used = token_usage.of_answer(body)
                await self.reply.whole(response.status, response.headers, body)
                return
            if self.reply.is_stream:  # it was held, and the caller expects events by now
                await self.reply.end(b"data: " + b" ".join(body.split()) + b"\n\ndata: [DONE]\n\n")
                return
            await self._begin(response)
            await self.reply.pass_on(body)
            while part := await response.read():
                await self.reply.pass_on(part)
                if size < token_usage.MAX_COUNTED_BYTES:
                    parts.append(part)
                    size += len(part)
            self._used = token_usage.of_answer(b"".join(parts))
            await self.reply.end()
        except Broken as error:
            if not self.reply.has_begun:
                raise Unavailable(error.reason, str(error)) from error
            raise _interrupted(error) from error

    async def _pass_stream(self, asked: Asked, response: UpstreamResponse, first: bytes, hides: bool) -> None:
        usage, telemetry = StreamUsage(hides), self._parts.telemetry
        self.reply.is_stream = True
        data, seen, last = first, 0, time.perf_counter()
        try:
            while data:
                if self._first is None:
                    await self._begin(response)
                    self._first = time.perf_counter() - self._began
                    telemetry.first_token(asked.model, self._first)
                passed = usage.feed(data)
                if passed:
                    await self.reply.pass_on(passed)
                now = time.perf_counter()
                if (events := usage.events - seen) > 0 and seen:
                    telemetry.between_tokens(asked.model, (now - last) / events)
                seen, last = usage.events, now
                self._used = usage.used
                data = await response.read()
            rest = usage.finish()
            self._used = usage.used
            if not self.reply.has_begun:
                await self._begin(response)
            await self.reply.end(rest)
        except Broken as error:
            raise _interrupted(error) from error

    async def _begin(self, response: UpstreamResponse) -> None:
        if not self.reply.has_begun:
            self._first = self._first or time.perf_counter() - self._began
            await self.reply.begin(response.status, response.headers)

    # The end

    def _account(self) -> None:
        """Count the request, and log it."""
        parts, asked, caller = self._parts, self._asked, self._caller
        model = asked.model if asked else ""
        duration = time.perf_counter() - self._began
        parts.telemetry.request(model, self.reply.status, duration)
        used = self._used or Used()
        if asked is not None and self._replica is not None and self.reply.status != 0:
            now = parts.wall()
            parts.limits.settle(caller, used.prompt + used.completion, now)
            day = time.strftime("%Y-%m-%d", time.gmtime(now))
            parts.ledger.add(
                caller.key_id,
                model,
                day,
                requests=1,
                prompt_tokens=used.prompt,
                completion_tokens=used.completion,
            )
            parts.telemetry.tokens(model, used.prompt, used.completion)
        parts.access_log.put(
            Access(
                at=self._began_at,
                request_id=self.reply.request_id,
                method="POST",
                path=self._arrived.path.decode("latin-1"),
                status=self.reply.status,
                duration=duration,
                client=self._arrived.client,
                key_id=caller.key_id,
                key_name=caller.name,
                model=model or None,
                code=self._error.code if self._error else None,
                first_token=self._first,
                prompt_tokens=used.prompt if self._used else None,
                completion_tokens=used.completion if self._used else None,
                worker=self._replica.worker if self._replica else None,
                retries=self._retries,
            )
        )


def _interrupted(error: Broken) -> OpenAIError:
    message = f"{error}; what came until now is not complete, so repeat the request"
    return OpenAIError(502, "answer_interrupted", message)
