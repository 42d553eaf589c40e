"""HTTP as an outsider speaks it: one call, one reply, and every reply held against the error table."""

import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

T = TypeVar("T")
Json = Any
"""Whatever a JSON document may be; the tests themselves say what they expect of it."""

TABLE: Mapping[int, frozenset[str]] = {
    400: frozenset({"INVALID_REQUEST"}),
    401: frozenset({"UNAUTHENTICATED"}),
    403: frozenset({"FORBIDDEN"}),
    404: frozenset(
        {"ROUTE_NOT_FOUND", "WORKER_NOT_FOUND", "DEPLOYMENT_NOT_FOUND", "CONTAINER_NOT_FOUND", "IMAGE_NOT_FOUND"}
        | {"MODEL_NOT_FOUND", "OPERATION_NOT_FOUND", "TOKEN_NOT_FOUND", "KEY_NOT_FOUND"}
    ),
    405: frozenset({"METHOD_NOT_ALLOWED"}),
    409: frozenset(
        {"WORKER_NAME_IN_USE", "WORKER_OFFLINE", "WORKER_NOT_EMPTY", "SESSION_SUPERSEDED", "DEPLOYMENT_NAME_IN_USE"}
        | {"ILLEGAL_TRANSITION", "IMAGE_IN_USE", "IDEMPOTENCY_MISMATCH"}
    ),
    410: frozenset({"WORKER_REMOVED"}),
    413: frozenset({"PAYLOAD_TOO_LARGE"}),
}
"""HTTP status to the error codes that PROTOCOL.md lists for it. 502 carries a worker's own and is not listed."""


@dataclass(frozen=True)
class Reply:
    """One answer, already held against PROTOCOL.md's error shape."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> Json:
        return json.loads(self.text)

    def expect(self, status: int, error_code: str | None = None) -> Json:
        """The body, once the status (and for an error its code) is what the document says."""
        assert self.status == status, f"expected {status} {error_code or ''}, got {self.status}: {self.text[:500]}"
        body = self.body
        if error_code is not None:
            assert body["error_code"] == error_code, self.text[:500]
        return body


def audit(reply: Reply, *secrets: str, bodiless: bool = False) -> Reply:
    """Hold a reply against what is promised of all of them; returns it."""
    if reply.status < 400:
        return reply
    assert reply.status < 500 or reply.status == 502, f"{reply.status}: {reply.text[:500]}"
    for secret in secrets:
        assert len(secret) < 12 or secret not in reply.text, f"a credential is echoed: {reply.text[:500]}"
    if bodiless:
        return reply
    assert reply.headers.get("Content-Type", "").startswith("application/json"), (reply.headers, reply.text[:500])
    assert set(reply.body) == {"error_code", "message"}, reply.text[:500]
    assert all(isinstance(value, str) and value for value in reply.body.values()), reply.text[:500]
    if reply.status != 502:
        assert reply.body["error_code"] in TABLE.get(reply.status, ()), f"{reply.status}: {reply.text[:500]}"
    return reply


_kept = threading.local()


def session() -> requests.Session:
    """This thread's, which keeps its connections and reads no proxy from the environment."""
    if not hasattr(_kept, "session"):
        _kept.session = requests.Session()
        _kept.session.trust_env = False
    kept: requests.Session = _kept.session
    return kept


class Client:
    """Calls with one credential, or with none."""

    def __init__(self, url: str, bearer: str | None = None) -> None:
        self.url, self.bearer = url, bearer

    def call(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        data: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 40,
    ) -> Reply:
        """`body` is sent as JSON, `data` as it is; a Bearer unless `headers` has an Authorization of its own."""
        sent = {"Authorization": f"Bearer {self.bearer}"} if self.bearer else {}
        sent |= {"Content-Type": "application/json"} | dict(headers or {})
        payload = data if body is None else json.dumps(body).encode()
        got = session().request(method, self.url + path, data=payload, headers=sent, timeout=timeout)
        reply = Reply(got.status_code, got.headers, got.content.decode())
        return audit(reply, self.bearer or "", sent.get("Authorization", ""), bodiless=method == "HEAD")

    def get(self, path: str, **options: Any) -> Reply:
        return self.call("GET", path, **options)

    def post(self, path: str, body: Json = None, **options: Any) -> Reply:
        return self.call("POST", path, body, **options)

    def patch(self, path: str, body: Json) -> Reply:
        return self.call("PATCH", path, body)

    def delete(self, path: str) -> Reply:
        return self.call("DELETE", path)


class Operator(Client):
    """A client with an API key, and the few things that most tests ask of it."""

    def __init__(self, url: str, bearer: str | None = None) -> None:
        super().__init__(url, bearer)
        self.made: list[str] = []

    def deploy(self, worker_id: str | None, **fields: Json) -> Json:
        """A new deployment's resource; on that worker and without a GPU unless told otherwise."""
        placed = {"worker_id": worker_id} if worker_id else {}
        body = {"model": "facebook/opt-125m", "gpus": 0} | placed | fields
        made = self.post("/api/deployments", body).expect(201)
        self.made.append(made["deployment_id"])
        return made

    def withdraw(self) -> None:
        """Let none of its own deployments wait any longer, so that later tests find no queue."""
        while self.made:
            path = f"/api/deployments/{self.made.pop()}"
            if (shown := self.get(path)).status == 200 and shown.body["status"] == "pending":
                self.post(f"{path}/stop").expect(200)

    def deployment(self, deployment_id: str) -> Json:
        return self.get(f"/api/deployments/{deployment_id}").expect(200)

    def status(self, deployment_id: str) -> str:
        return str(self.deployment(deployment_id)["status"])

    def operation(self, operation_id: str) -> Json:
        return self.get(f"/api/operations/{operation_id}").expect(200)


def raw(url: str, payload: bytes, method: str = "GET") -> Reply:
    """Send bytes as they are and read one answer. The server may answer, and close, before it has read them all."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname or "", where.port or 80), timeout=10) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused early: the answer is still to be read
            connection.sendall(payload)
        response = HTTPResponse(connection, method=method)
        response.begin()
        text = response.read().decode()
        return Reply(response.status, dict(response.getheaders()), text)


def unique(prefix: str) -> str:
    """A name that no other test has."""
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


def eventually(look: Callable[[], T], wanted: Callable[[T], bool], seconds: float = 3) -> T:
    """What `look` sees, once it is what is wanted; a real process is polled, with a deadline."""
    deadline = time.monotonic() + seconds
    while not wanted(seen := look()):
        assert time.monotonic() < deadline, f"still {seen!r}"
        time.sleep(0.05)
    return seen
