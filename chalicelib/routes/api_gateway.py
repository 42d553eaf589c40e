"""The app as Lambda calls it: by a REST API (payload 1.0, Chalice's own form) or by an HTTP API (payload 2.0).

Either becomes one form before Chalice sees it, so that nothing behind this module knows which gateway there is. What a
gateway or Chalice would refuse in words of its own is refused in ours. The local server sends payload 1.0
(infra/local/asgi.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from chalice.app import Chalice

from chalicelib.routes.http import failure, unexpected
from chalicelib.routes.matching import MethodNotAllowed, match
from chalicelib.telemetry import access_log
from muster.api.errors import ApiError

Event = dict[str, Any]


class App(Chalice):
    def __call__(self, event: Event, context: Any) -> Event:
        started = time.monotonic()
        access_log.REQUEST.set(getattr(context, "aws_request_id", None))
        is_http = event.get("version") == "2.0"
        rest: Event = {}
        try:
            rest = of_http(event, self.routes) if is_http else of_rest(event, self.routes)
            method, route = rest["requestContext"]["httpMethod"], rest["requestContext"]["resourcePath"]
            if method not in self.routes[route]:
                raise MethodNotAllowed(self.routes[route])
            answer = super().__call__(rest, context)
        except ApiError as error:
            answer = failure(error).to_dict()
        except Exception as error:  # the last line of defence: whatever the app did not handle
            answer = failure(unexpected(error, "the app")).to_dict()
        _log(event, rest, answer, time.monotonic() - started)
        return as_http(answer) if is_http else answer


def of_rest(event: Event, routes: Iterable[str]) -> Event:
    """Payload 1.0 with what may be absent made plain. Raises ApiError ROUTE_NOT_FOUND.

    A REST API, whose requests name a stage, sends the base64 of a compressed body as it is, unless the media type is
    declared for all callers: no route is told that a caller accepts one. The local server decodes it.
    """
    context = event["requestContext"]
    route, ids = context.get("resourcePath"), event.get("pathParameters") or {}
    if route not in routes:
        route, ids = match(routes, event.get("path") or "")
    several = event.get("multiValueHeaders") or {name: [value] for name, value in (event.get("headers") or {}).items()}
    headers = {name.lower(): ",".join(values) for name, values in several.items()}
    if "stage" in context:
        headers.pop("accept-encoding", None)
    return _event(
        {**context, "resourcePath": route},
        headers,
        event.get("multiValueQueryStringParameters"),
        ids,
        event,
    )


def of_http(event: Event, routes: Iterable[str]) -> Event:
    """Payload 2.0 as 1.0. Raises ApiError ROUTE_NOT_FOUND."""
    context = event["requestContext"]
    stage = context.get("stage", "$default")
    path = event["rawPath"] if stage == "$default" else event["rawPath"].removeprefix(f"/{stage}")
    route, ids = _routed(event, path, routes)
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    if event.get("cookies"):
        headers["cookie"] = "; ".join(event["cookies"])
    query = parse_qs(event.get("rawQueryString") or "", keep_blank_values=True)
    made = {"httpMethod": context["http"]["method"], "resourcePath": route, "path": event["rawPath"]}
    return _event(made, headers, query, ids, event)


def _routed(event: Event, path: str, routes: Iterable[str]) -> tuple[str, dict[str, str]]:
    """The gateway matched the path as it was sent, and shows it decoded: where a parameter ends, only it can tell.

    What it calls $default (no route, or none for the method) is matched here. Parameters come out encoded once.
    """
    template, given = event.get("routeKey", "").partition(" ")[2], event.get("pathParameters") or {}
    if template not in routes:
        return match(routes, path)
    as_they_are = given
    if _filled(template, as_they_are) != _plain(path):
        as_they_are = {name: unquote(value) for name, value in given.items()}
    return template, {name: quote(value, safe="") for name, value in as_they_are.items()}


def _filled(template: str, ids: Mapping[str, str]) -> str:
    for name, value in ids.items():
        template = template.replace(f"{{{name}}}", value)
    return _plain(template)


def _plain(path: str) -> str:
    """A decoded path goes as far as its first question mark: there the gateway cuts it off."""
    return path.partition("?")[0].removesuffix("/")


def _event(context: Event, headers: dict[str, str], query: Any, ids: dict[str, str], event: Event) -> Event:
    return {
        "requestContext": context,
        "headers": headers,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": ids,
        "stageVariables": event.get("stageVariables"),
        "body": event.get("body"),
        "isBase64Encoded": event.get("isBase64Encoded", False),
    }


def as_http(answer: Event) -> Event:
    """Payload 2.0 has one value a header."""
    several = {name: ",".join(values) for name, values in answer.get("multiValueHeaders", {}).items()}
    return {
        "statusCode": answer["statusCode"],
        "headers": {**answer["headers"], **several},
        "body": answer["body"],
        "isBase64Encoded": answer.get("isBase64Encoded", False),
    }


METHODS = frozenset("GET HEAD POST PUT PATCH DELETE OPTIONS".split())


def _log(event: Event, rest: Event, answer: Event, seconds: float) -> None:
    context = rest.get("requestContext", {})
    sent = event.get("requestContext", {})
    method = sent.get("httpMethod") or sent.get("http", {}).get("method")
    access_log.answered(
        method if method in METHODS else "other",
        context.get("resourcePath"),
        rest.get("pathParameters") or {},
        answer,
        seconds,
    )
