"""A LiteLLM proxy through its own API: the models that a gateway made there, and no others."""

from __future__ import annotations

import os
from typing import Any

import requests

from muster.api.connection import cause
from muster.http import Bearer, new_session
from muster.litellm.sync_plan import Model

TIMEOUT_SECONDS = (5.0, 30.0)
NOT_FOUND = "not found"


class LiteLLMError(Exception):
    """It does not answer, or refuses; the message says what it said."""


class LiteLLM:
    """`owner` is the mark on the models that belong to this gateway: those of others are never seen here."""

    def __init__(self, url: str, key: str, owner: str, session: requests.Session | None = None) -> None:
        self._url, self._owner = url.rstrip("/"), owner
        self._session = session or new_session(os.environ)
        self._session.auth = Bearer(key)

    def own(self) -> list[str]:
        """Ids of this gateway's models. Raises LiteLLMError."""
        found = self._call("GET", "/model/info").get("data", [])
        return [info["id"] for model in found if (info := model.get("model_info") or {}).get("muster") == self._owner]

    def add(self, model: Model) -> None:
        """Raises LiteLLMError."""
        parameters = {"model": f"hosted_vllm/{model.name}", "api_base": model.api_base, "api_key": model.api_key}
        info = {"id": model.id, "muster": self._owner, "muster_deployment": model.deployment_id}
        self._call("POST", "/model/new", {"model_name": model.name, "litellm_params": parameters, "model_info": info})

    def delete(self, model_id: str) -> None:
        """One that is gone already is no error. Raises LiteLLMError."""
        try:
            self._call("POST", "/model/delete", {"id": model_id})
        except LiteLLMError as error:
            if NOT_FOUND not in str(error):
                raise

    def _call(self, method: str, path: str, body: object = None) -> Any:
        try:
            got = self._session.request(method, self._url + path, json=body, timeout=TIMEOUT_SECONDS)
        except (requests.RequestException, OSError) as error:
            reason = cause(error, self._url, os.environ)
            raise LiteLLMError(f"LiteLLM does not answer at {self._url}: {reason}") from error
        if not got.ok:
            raise LiteLLMError(f"LiteLLM refused {method} {path} with {got.status_code}: {got.text[:300]}")
        try:
            return got.json()
        except ValueError as error:
            raise LiteLLMError(f"{self._url} is no LiteLLM: {method} {path} did not answer JSON") from error
