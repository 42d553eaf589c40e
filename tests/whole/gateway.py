"""The real app behind a requests adapter: the agent's real requests make the round trip without a socket."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import requests
from chalice.config import Config
from chalice.local import LocalGateway

from chalicelib import tokens
from tests.agent.fake_server import FakeServer

REGISTRATION_TOKEN, ADMIN_KEY = "a registration token", "an admin's key"


class App(FakeServer):
    """In the place of the agent tests' fake server. `lose_answers` of requests are carried out and never answered."""

    def __init__(self, now: float) -> None:
        super().__init__()
        import app

        self._gateway = LocalGateway(app.app, Config())
        self.lose_answers = 0
        tokens.seed_registration_token(REGISTRATION_TOKEN, now)
        tokens.seed_admin_key(ADMIN_KEY, now)

    def exchange(self, request: requests.PreparedRequest) -> requests.Response:
        body = request.body if isinstance(request.body, bytes) else None
        answer = self._call(str(request.method), request.path_url, dict(request.headers), body)
        if self.lose_answers:
            self.lose_answers -= 1
            raise requests.ConnectionError("the answer was lost")
        return answer

    def operator(self, method: str, path: str, body: Any = None) -> Any:
        """What an admin's request answers. Raises AssertionError for anything but success."""
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        answer = self._call(method, path, headers, msgspec.json.encode(body) if body is not None else None)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def _call(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> requests.Response:
        answer = self._gateway.handle_request(method, path, headers, body)
        response = requests.Response()
        response.status_code = answer["statusCode"]
        response.raw = io.BytesIO(str(answer["body"]).encode())
        response.headers.update(answer["headers"])
        return response
