"""The demo's own client of the control plane, as an operator would write it with requests."""

from __future__ import annotations

from typing import Any

import requests

from infra.demo_stage import DemoFailed, attempts
from muster.api.lifecycle import OPEN

ANSWER_SECONDS = 300.0
"""That an answer may take, of the control plane or of the worker."""


class Api:
    """Raises DemoFailed with the API's own words, requests.RequestException where nobody answers."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy or netrc of the user's is not meant for this
        self._session.headers["Authorization"] = f"Bearer {key}"

    def get(self, path: str, query: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._call("GET", path, params=query)

    def post(self, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        return self._call("POST", path, json=body)

    def wait_for(self, path: str, query: dict[str, Any] | None = None) -> dict[str, Any]:
        """What a worker answers: at once, or as the output of the operation that the API points at."""
        answer = self.get(path, query)
        if "operation_id" not in answer:
            return answer
        for _ in attempts(ANSWER_SECONDS):
            operation = self.get(f"/api/operations/{answer['operation_id']}")
            if operation["status"] == "succeeded":
                return dict(operation["output"])
            if operation["status"] not in OPEN:
                raise DemoFailed(f"{path}: {operation['status']}: {operation['error_code']}: {operation['message']}")
        raise DemoFailed(f"{path}: the worker did not answer within {ANSWER_SECONDS:.0f} s", "agent")

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        answer = self._session.request(method, self.url + path, timeout=ANSWER_SECONDS, **arguments)
        if not answer.ok:
            raise DemoFailed(f"{method} {path} was answered {answer.status_code}: {answer.text[:500]}", "control plane")
        return dict(answer.json())
