"""LiteLLM in front of a gateway: a model whose host listens on nothing answers through LiteLLM."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil
import pytest
import requests

from tests.fixtures.gateway_rig import MODEL, GatewayRig, TunnelHost
from tests.fixtures.http_client import Json
from tests.fixtures.waiting import PATIENCE, eventually
from tests.litellm.conftest import MASTER_KEY, Proxy

Sync = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def rig(litellm: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayRig]:
    """After LiteLLM, without which these tests are skipped."""
    with GatewayRig(tmp_path_factory.mktemp("gateway"), 1) as rig:
        yield rig


@pytest.fixture
def synced(rig: GatewayRig, sync: Sync) -> Callable[[], str]:
    """Runs `muster gateway sync --via` once. Returns what it printed."""

    def once() -> str:
        variables = {"MUSTER_URL": rig.serve.url, "MUSTER_VIA_KEY": rig.key}
        started = sync("--via", rig.gateway.url, "--once", **variables)
        printed, _ = started.communicate(timeout=PATIENCE)
        assert started.returncode == 0, printed
        return printed

    return once


def listeners(host: TunnelHost) -> set[str]:
    """The addresses on which the host's processes listen."""
    found = set()
    for process in host.marked():
        with suppress(psutil.Error):  # others come and go
            found |= {at.laddr.ip for at in process.net_connections() if at.status == psutil.CONN_LISTEN}
    return found


def own_key(litellm: Proxy) -> str:
    """A key of LiteLLM's that may ask for MODEL alone."""
    made = litellm.call("POST", "/key/generate", {"models": [MODEL]})
    assert made.ok, made.text
    return str(made.json()["key"])


def ask(litellm: Proxy, key: str, **body: Json) -> requests.Response:
    content = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}], "max_tokens": 3, **body}
    return litellm.call("POST", "/v1/chat/completions", content, key)


def events(answer: requests.Response) -> list[str]:
    """What the server sent as events."""
    return [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]


def listed(litellm: Proxy, key: str = MASTER_KEY) -> list[str]:
    answer = litellm.call("GET", "/v1/models", key=key)
    assert answer.ok, answer.text
    return [model["id"] for model in answer.json()["data"]]


def used(rig: GatewayRig) -> Json:
    """What the gateway counted for the key that LiteLLM has."""
    rows = rig.operator.call("GET", "/api/usage?by=key")["rows"]
    return next((row for row in rows if row["key"] == "caller"), {"requests": 0})


def test_litellm_asks_a_model_through_its_tunnel_until_the_model_is_stopped(
    litellm: Proxy, rig: GatewayRig, synced: Callable[[], str]
) -> None:
    deployment = rig.operator.call("GET", "/api/deployments")["deployments"][0]
    assert not deployment.get("endpoint"), "the control plane knows no address of the model"
    assert all(ipaddress.ip_address(address).is_loopback for address in listeners(rig.hosts[0]))
    before = rig.gateway.metric("muster_gateway_requests_total")

    assert f"{MODEL} at {rig.gateway.url}/v1" in synced()
    key = own_key(litellm)
    assert MODEL in listed(litellm) and MODEL in listed(litellm, key)
    plain = ask(litellm, key)
    assert plain.status_code == 200, plain.text
    assert plain.json()["choices"][0]["message"]["content"] == " token" * 3
    assert plain.json()["usage"]["completion_tokens"] == 3
    streamed = ask(litellm, key, stream=True)
    assert streamed.status_code == 200, streamed.text
    *chunks, last = events(streamed)
    deltas = [choice["delta"].get("content") or "" for chunk in chunks for choice in json.loads(chunk)["choices"]]
    assert "".join(deltas) == " token" * 3 and last == "[DONE]"
    assert rig.gateway.metric("muster_gateway_requests_total") == before + 2
    counted = eventually(lambda: used(rig), lambda row: row["requests"] == 2, "the gateway's report of two requests")
    assert counted["completion_tokens"] == 6

    rig.operator.call("POST", f"/api/deployments/{deployment['deployment_id']}/stop")
    assert "removed" in synced()
    assert MODEL not in listed(litellm)
    assert not ask(litellm, key).ok
