"""Lambda and a gateway before it, as far as they decide whether the archive works: a process for each request at once.

A process is frozen between requests and thawed for the next, as Lambda does: what it had in flight stands still.
Beyond the function's concurrency a request is throttled; beyond its timeout the
process is killed. An HTTP API decodes the paths that it shows and a REST API does not.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, unquote

import botocore

from chalicelib.routes.matching import match
from muster.api.errors import ApiError
from tests.fixtures.http_server import HttpServer, serving
from tests.fixtures.waiting import PATIENCE

Event = dict[str, Any]
Form = Literal["http", "rest"]
BROUGHT = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six.py", "urllib3")
"""What Lambda's Python has beside an archive."""
SITE = Path(botocore.__file__).parents[1]
RUNTIME = Path(__file__).with_name("runtime.py")


class Throttled(Exception):
    """All of the function's concurrency is in use."""


class Crashed(Exception):
    """The process ended, raised, or was out of time."""


def runtime_beside(folder: Path) -> Path:
    """A folder with what Lambda's runtime has, and nothing more."""
    for name in BROUGHT:
        source = SITE / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    return folder


class Process:
    def __init__(self, task: Path, brought: Path, environment: dict[str, str], log: Path) -> None:
        come, self._events = os.pipe()
        self._answers, go = os.pipe()
        command = [sys.executable, "-I", "-S", str(RUNTIME), str(task), str(brought), str(come), str(go)]
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command, env=environment, stdout=out, stderr=subprocess.STDOUT, pass_fds=(come, go)
            )
        os.close(come)
        os.close(go)
        self._reader = os.fdopen(self._answers)

    @property
    def pid(self) -> int:
        return self._process.pid

    def invoke(self, event: Event, seconds: float) -> Any:
        """Thawed for this one event. Raises Crashed; the process is gone then."""
        self._process.send_signal(signal.SIGCONT)
        line = json.dumps({"event": event, "request_id": str(uuid.uuid4())}) + "\n"
        try:
            with open(os.dup(self._events), "w") as pipe:
                pipe.write(line)
            ready, _, _ = select.select([self._reader], [], [], seconds)
            answer = json.loads(self._reader.readline()) if ready else {"error": "timeout"}
        except (OSError, ValueError) as error:
            answer = {"error": str(error)}
        if "error" in answer:
            self.kill()
            raise Crashed(answer["error"])
        self._process.send_signal(signal.SIGSTOP)
        return answer["answer"]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        with suppress(OSError):
            os.close(self._events)
        self._reader.close()


class Function:
    """The function: as many processes as there are requests at once, `concurrency` at most."""

    def __init__(
        self,
        task: Path,
        brought: Path,
        log: Path,
        environment: dict[str, str],
        concurrency: int = 10,
        timeout: float = PATIENCE,
    ) -> None:
        self._task, self._brought, self.log = task, brought, log
        self._concurrency, self._timeout = concurrency, timeout
        self._environment = {
            "_HANDLER": "app.app",
            "AWS_LAMBDA_FUNCTION_NAME": "muster-test",
            "AWS_REGION": "eu-central-1",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "emulated",
            "AWS_SECRET_ACCESS_KEY": "emulated",
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        }
        self._lock = threading.Lock()
        self._frozen: list[Process] = []
        self.busy: list[Process] = []
        self.most = 0
        """Of its requests at once, so far."""

    def invoke(self, event: Event) -> Any:
        """Raises Throttled, Crashed."""
        with self._lock:
            if len(self.busy) >= self._concurrency:
                raise Throttled
            process = (
                self._frozen.pop() if self._frozen else Process(self._task, self._brought, self._environment, self.log)
            )
            self.busy.append(process)
            self.most = max(self.most, len(self.busy))
        try:
            answer = process.invoke(event, self._timeout)
        except Crashed:
            with self._lock:
                self.busy.remove(process)
            raise
        with self._lock:
            self.busy.remove(process)
            self._frozen.append(process)
        return answer

    @property
    def processes(self) -> list[Process]:
        return [*self._frozen, *self.busy]

    def end(self) -> None:
        for process in self.processes:
            process.kill()


# What a gateway makes of a request, and of an answer


def _as_a_gateway(routes: Iterable[str], path: str) -> tuple[str, dict[str, str]]:
    """A gateway takes a slash for the end of a parameter. Raises ApiError ROUTE_NOT_FOUND."""
    template, captured = match(routes, path)
    if template.removesuffix("/").count("/") != path.removesuffix("/").count("/"):
        raise ApiError("ROUTE_NOT_FOUND", "a slash ends a parameter")
    return template, captured


def http_event(method: str, target: str, headers: list[tuple[str, str]], body: bytes, routes: dict[str, Any]) -> Event:
    """Payload 2.0: the path decoded and cut off at a question mark, what was sent several times joined with commas."""
    path, _, query = target.partition("?")
    key, ids = "$default", {}
    with suppress(ApiError):
        template, captured = _as_a_gateway(routes, path)
        if method in routes[template]:
            key, ids = f"{method} {template}", {name: unquote(value) for name, value in captured.items()}
    several: dict[str, list[str]] = {}
    cookies = []
    for name, value in headers:
        if name.lower() == "cookie":
            cookies += value.split("; ")
        else:
            several.setdefault(name.lower(), []).append(value)
    shown = unquote(path).partition("?")[0]
    event = {
        "version": "2.0",
        "routeKey": key,
        "rawPath": shown,
        "rawQueryString": query,
        "headers": {name: ",".join(values) for name, values in several.items()},
        "requestContext": {"http": {"method": method, "path": shown}, "routeKey": key, "stage": "$default"},
        **_body(body, several.get("content-type", [""])[0]),
    }
    return event | ({"cookies": cookies} if cookies else {}) | ({"pathParameters": ids} if ids else {})


def rest_event(method: str, target: str, headers: list[tuple[str, str]], body: bytes, routes: dict[str, Any]) -> Event:
    """Payload 1.0: parameters of the path as they were sent, every value of a header."""
    path, _, query = target.partition("?")
    template: str | None = None
    ids: dict[str, str] = {}
    with suppress(ApiError):
        template, ids = _as_a_gateway(routes, path)
    several: dict[str, list[str]] = {}
    for name, value in headers:
        several.setdefault(name, []).append(value)
    parameters = parse_qs(query, keep_blank_values=True)
    kind = next((value for name, value in headers if name.lower() == "content-type"), "")
    return {
        "resource": template or "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": {name: values[-1] for name, values in several.items()} or None,
        "multiValueHeaders": several or None,
        "queryStringParameters": {name: values[-1] for name, values in parameters.items()} or None,
        "multiValueQueryStringParameters": parameters or None,
        "pathParameters": ids or None,
        "stageVariables": None,
        "requestContext": {"httpMethod": method, "resourcePath": template or "/{proxy+}", "path": path, "stage": "api"},
        **_body(body, kind),
    }


def _body(body: bytes, kind: str) -> Event:
    """Text as text, and all else in base64."""
    if not body:
        return {"body": None, "isBase64Encoded": False}
    with suppress(UnicodeDecodeError):
        if kind.startswith(("application/json", "text/")):
            return {"body": body.decode(), "isBase64Encoded": False}
    return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}


def read(answer: Event) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and bytes of what the function answered, in either form."""
    body = base64.b64decode(answer["body"]) if answer.get("isBase64Encoded") else answer["body"].encode()
    several = {name: ",".join(values) for name, values in answer.get("multiValueHeaders", {}).items()}
    headers = {**answer["headers"], **several}
    return answer["statusCode"], {name.lower(): value for name, value in headers.items()}, body


@contextmanager
def gateway(function: Function, form: Form, routes: dict[str, Any]) -> Iterator[str]:
    """The URL of an API before the function."""
    make = http_event if form == "http" else rest_event

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            event = make(self.command, self.path, list(self.headers.items()), body, routes)
            try:
                status, headers, content = read(function.invoke(event))
            except Throttled:
                status, headers, content = 429, {}, b'{"message":"Too Many Requests"}'
            except Crashed:
                status, headers, content = 502, {}, b'{"message":"Internal Server Error"}'
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = handle_one

        def log_message(self, format: str, *args: Any) -> None:
            """The function's own lines say it all."""

    try:
        with serving(HttpServer(("127.0.0.1", 0), Handler)) as server:
            yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        function.end()
