"""Models beside the API: `serve` with its gateway, an agent that listens on loopback alone, and an answer."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from infra.local.embedded_gateway import is_of_models, kept_key, refuse
from muster.api.errors import ApiError
from tests.fixtures.agent_process import Operator
from tests.fixtures.gateway_rig import MODEL, TunnelHost
from tests.fixtures.http_client import session
from tests.fixtures.serve import Serve
from tests.fixtures.waiting import PATIENCE, eventually


@pytest.mark.parametrize("path", ["/v1", "/v1/models", "/tunnel", "/metrics", "/healthz"])
def test_the_gateway_answers_where_models_are(path: str) -> None:
    assert is_of_models(path)


@pytest.mark.parametrize("path", ["/", "/api/health", "/v1x", "/api/v1/models", "/tunnels", "/console/x/app.js"])
def test_the_control_plane_answers_elsewhere(path: str) -> None:
    assert not is_of_models(path)


def test_a_refusal_has_the_shape_of_whom_was_asked() -> None:
    error = ApiError("INVALID_REQUEST", "no")
    assert b'"error":{' in refuse(error, b"/v1/models").body and b"error_code" in refuse(error, b"/api/x").body


def test_its_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    key = kept_key(tmp_path)
    assert kept_key(tmp_path) == key and key.startswith("mst_key_")
    assert stat.S_IMODE((tmp_path / "gateway-key").stat().st_mode) == 0o600


def test_one_process_serves_the_api_and_an_answer_of_a_model(tmp_path: Path) -> None:
    with Serve(tmp_path / "data", MUSTER_HEARTBEAT="1", MUSTER_SERVE_GATEWAY="1") as serve:
        operator = Operator(serve.url)
        host = TunnelHost(tmp_path, serve.url)
        host.start()
        try:
            key = operator.call("POST", "/api/api-keys", {"name": "app", "role": "caller"})["key"]
            operator.call("POST", "/api/deployments", {"model": MODEL, "gpus": 0})

            def ask() -> Any:
                body = {"model": MODEL, "messages": [], "max_tokens": 2}
                headers = {"Authorization": f"Bearer {key}"}
                return session().post(f"{serve.url}/v1/chat/completions", json=body, headers=headers, timeout=PATIENCE)

            answer = eventually(ask, lambda seen: seen.status_code == 200, "an answer through the one address")
            assert answer.json()["choices"][0]["message"]["content"] == " token token"
            asking = OpenAI(base_url=f"{serve.url}/v1", api_key=str(key), max_retries=0, timeout=PATIENCE)
            asked: list[Any] = [{"role": "user", "content": "Count."}]
            stream = asking.chat.completions.create(model=MODEL, messages=asked, max_tokens=2, stream=True)
            assert "".join(each.choices[0].delta.content or "" for each in stream) == " token token"
            assert [each["url"] for each in operator.call("GET", "/api/gateways")["gateways"]] == [serve.url]
            usage = eventually(lambda: operator.call("GET", "/api/health"), what="the API beside it")
            assert usage["status"] == "ok"
        finally:
            host.end()
    assert "Models: " in serve.log.read_text()
