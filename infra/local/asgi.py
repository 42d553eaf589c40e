"""The app as an ASGI application: a request becomes the event of a Lambda function, and its answer an HTTP answer.

    receive ─► route and method ─► body ─► app(event, context) ─► on disk ─► send

The app is synchronous. What workers send never waits, and is handled on the event loop: a thread in between takes
longer than handling it. What operators ask may wait or list thousands, and is handled in threads. Everything is, where
the database is elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from chalice.app import Chalice, RouteEntry

from chalicelib.routes.http import admit
from chalicelib.routes.matching import MethodNotAllowed, Routes
from chalicelib.routes.table import module_of
from infra.local.answers import of_app, refused
from infra.local.durability import AtOnce, Deliveries, Durability
from infra.local.threads import Threads
from muster.api.endpoints import ENDPOINTS
from muster.api.errors import ApiError
from muster.serving.answers import Answer

UNASKED_BODY_BYTES = 64 * 1024
"""A larger body is not read before its caller's credential is known to be good."""
INLINE = frozenset(endpoint.name for endpoint in ENDPOINTS if module_of(endpoint) in ("worker", "register"))
"""Endpoints that are handled on the event loop: what workers send."""

Event = dict[str, Any]
Message = dict[str, Any]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: str
    headers: dict[str, str]

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> Request:
        """A header that was sent several times is joined with commas, as gateways do."""
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]},{text}" if key in headers else text
        return cls(
            scope["method"], scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1"), headers
        )

    @property
    def length(self) -> int:
        """Bytes of the body. The parser has refused what is no number."""
        return int(self.headers.get("content-length") or 0)

    @property
    def expects_continue(self) -> bool:
        return self.headers.get("expect", "").lower() == "100-continue"

    def event(self, route: str, ids: dict[str, str], body: bytes) -> Event:
        """What API Gateway makes of it (payload 1.0)."""
        return {
            "requestContext": {"httpMethod": self.method, "resourcePath": route, "path": self.path},
            "headers": self.headers,
            "multiValueQueryStringParameters": parse_qs(self.query, keep_blank_values=True) if self.query else None,
            "pathParameters": ids,
            "stageVariables": None,
            "body": body or None,
            "isBase64Encoded": False,
        }


class Application:
    """`inline` are the names of endpoints that are handled on the event loop."""

    def __init__(
        self, app: Chalice, threads: Threads, inline: frozenset[str] = frozenset(), durability: Durability | None = None
    ) -> None:
        self._app, self._threads, self._inline = app, threads, inline
        self._durability = durability or AtOnce()
        self._routes = Routes(app.routes)
        self._deliveries: Deliveries | None = None

    async def __call__(self, scope: Message, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not served here")
        request = Request.of(scope)
        try:
            if request.length > UNASKED_BODY_BYTES or request.expects_continue:
                await self._admit(request)
            body = await _whole(receive)
            if body is None:
                return
            answer = await self._answer(request, body)
        except ApiError as error:
            answer = refused(error)
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _match(self, request: Request) -> tuple[str, dict[str, str], RouteEntry]:
        """Raises ApiError ROUTE_NOT_FOUND, MethodNotAllowed."""
        route, ids = self._routes.match(request.path)
        methods = self._app.routes[route]
        if request.method not in methods:
            raise MethodNotAllowed(methods)
        return route, ids, methods[request.method]

    async def _admit(self, request: Request) -> None:
        """Check what can be checked before the body is there. Raises what the app would answer."""
        _, ids, entry = self._match(request)
        await self._in_thread(partial(admit, entry.view_name, ids, request.headers, request.length))

    async def _answer(self, request: Request, body: bytes) -> Answer:
        """Raises ApiError."""
        route, ids, entry = self._match(request)
        task = partial(self._app, request.event(route, ids, body), None)
        if entry.view_name in self._inline:
            return of_app(await self._here(task))
        return of_app(await self._in_thread(task))

    async def _here(self, task: Callable[[], Any]) -> Any:
        with self._durability.deferred() as seen:
            result = task()
        if not seen.sequence:
            return result
        future = asyncio.get_running_loop().create_future()
        self._deliver(future, result, seen.sequence)
        return await future

    async def _in_thread(self, task: Callable[[], Any]) -> Any:
        future = asyncio.get_running_loop().create_future()
        self._delivered()  # made on the event loop

        def work() -> None:
            result, raised = None, None
            with self._durability.deferred() as seen:
                try:
                    result = task()
                except Exception as error:  # raised where it is awaited
                    raised = error
            self._deliver(future, result, seen.sequence, raised)

        self._threads.submit(work)
        return await future

    def _deliver(
        self, future: asyncio.Future[Any], result: Any, sequence: int, raised: Exception | None = None
    ) -> None:
        """Hand on the result, or what was raised in its place, once what it depends on is on disk."""
        deliveries = self._delivered()
        self._durability.when_durable(
            sequence, lambda error: deliveries.deliver(future, result, _unwritten(error) or raised)
        )

    def _delivered(self) -> Deliveries:
        if self._deliveries is None:
            self._deliveries = Deliveries(asyncio.get_running_loop())
        return self._deliveries


def _unwritten(error: BaseException | None) -> ApiError | None:
    """Why an answer cannot leave whose writes are not on disk."""
    if error is None:
        return None
    return ApiError("UNAVAILABLE", "the database cannot be written; try again", retry_after=2)


async def _whole(receive: Callable[..., Any]) -> bytes | None:
    """The body; None where the caller has gone."""
    message = await receive()
    if message["type"] == "http.request" and not message["more_body"]:
        return message["body"]  # type: ignore[no-any-return]
    parts = []
    while message["type"] == "http.request":
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)
        message = await receive()
    return None
