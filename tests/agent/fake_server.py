"""A control plane in memory, behind a requests adapter: the agent's real requests come and go, without a socket.

It keeps to the protocol where the agent could notice: a command is sent until it is acked or reported on, retired
tokens are refused, and the newest session wins.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import msgspec
import requests
from requests.adapters import BaseAdapter

from chalicelib.contract.messages import Heartbeat, Registration, Report, Result

Answer = tuple[int, bytes, dict[str, str]]


def error(status: int, error_code: str, **headers: str) -> Answer:
    return status, msgspec.json.encode({"error_code": error_code, "message": "said the fake"}), headers


class FakeServer(BaseAdapter):
    """`failures` are answered first, one a request, before anything else happens; an exception among them is raised."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[Answer | Exception] = []
        self.failures_of: dict[str, Answer] = {}
        self.worker_id = "w1"
        self.session = 0
        self.tokens = 0
        self.boot_id: str | None = None
        self.inbox = 1
        self.next_heartbeat_in = 30
        self.pending: dict[str, dict[str, Any]] = {}
        self.registrations: list[Registration] = []
        self.bearers: list[str | None] = []
        self.beats: list[Heartbeat] = []
        self.reports: list[tuple[str, Report]] = []
        self.results: list[tuple[str, Result]] = []
        self.requests: list[str] = []

    def session_to_here(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.mount("https://", self)
        return session

    def order(self, **command: Any) -> None:
        self.pending[command["command_id"]] = command
        self.inbox += 1

    # requests' side

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        return self.exchange(request)

    def exchange(self, request: requests.PreparedRequest) -> requests.Response:
        """What another server than this one does otherwise."""
        path = request.path_url
        self.requests.append(path)
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return _response(request, failure)
        kind = path.rpartition("/")[2]
        if kind in self.failures_of:
            return _response(request, self.failures_of[kind])
        body = request.body if isinstance(request.body, bytes) else b""
        try:
            answer = self._answer(path, kind, body, request.headers.get("Authorization"))
        except msgspec.ValidationError:
            answer = error(400, "INVALID_REQUEST")
        return _response(request, answer)

    def close(self) -> None:
        pass

    # The control plane's side

    def _answer(self, path: str, kind: str, body: bytes, bearer: str | None) -> Answer:
        self.bearers.append(bearer)
        if kind == "register":
            return self._register(msgspec.json.decode(body, type=Registration))
        if bearer != f"Bearer token-{self.tokens}":
            return error(401, "UNAUTHENTICATED")
        about = path.split("/")[-2]
        if kind == "heartbeat":
            return self._heartbeat(msgspec.json.decode(body, type=Heartbeat))
        if kind == "status":
            report = msgspec.json.decode(body, type=Report)
            self.reports.append((about, report))
            self._settle(lambda each: each.get("deployment_id") == about and each["generation"] == report.generation)
        else:
            self.results.append((about, msgspec.json.decode(body, type=Result)))
            self._settle(lambda each: each["command_id"] == about)
        return 200, b'{"applied": true, "status": "whatever"}', {}

    def _register(self, registration: Registration) -> Answer:
        self.registrations.append(registration)
        if registration.boot_id != self.boot_id:
            self.session += 1
        self.boot_id = registration.boot_id
        self.tokens += 1
        answer = {
            "worker_id": self.worker_id,
            "message": "Worker registered successfully",
            "token": f"token-{self.tokens}",
            "session": self.session,
            "next_heartbeat_in": self.next_heartbeat_in,
        }
        return 200, msgspec.json.encode(answer), {}

    def _heartbeat(self, beat: Heartbeat) -> Answer:
        self.beats.append(beat)
        self._settle(lambda each: each["command_id"] in beat.acks)
        answer = {
            "commands": list(self.pending.values()),
            "inbox": self.inbox,
            "next_heartbeat_in": self.next_heartbeat_in,
        }
        return 200, msgspec.json.encode(answer), {}

    def _settle(self, received: Any) -> None:
        self.pending = {id: each for id, each in self.pending.items() if not received(each)}


def _response(request: requests.PreparedRequest, answer: Answer) -> requests.Response:
    status, body, headers = answer
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers)
    response.raw = io.BytesIO(body)
    response.request = request
    response.url = request.url or ""
    return response
