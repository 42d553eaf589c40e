"""Two gateways of one fleet: agents dial both, each answers alone, and what callers used is added up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fixtures.gateway_rig import MODEL, GatewayProcess, GatewayRig
from tests.fixtures.http_client import session
from tests.fixtures.waiting import PATIENCE, eventually

Pair = tuple[GatewayRig, GatewayProcess]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A rig with one host, and another gateway beside the rig's."""
    folder = tmp_path_factory.mktemp("gateways")
    with GatewayRig(folder, 1) as rig:
        (folder / "other").mkdir()
        key = rig.operator.call("POST", "/api/api-keys", {"name": "other", "role": "gateway"})["key"]
        other = GatewayProcess(folder / "other", rig.serve.url, str(key))
        other.start()
        try:
            yield rig, other
        finally:
            other.kill()


def answer(gateway: GatewayProcess, key: str) -> tuple[int, str]:
    """The status, and what the model said or the error's code."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}], "max_tokens": 2}
    headers = {"Authorization": f"Bearer {key}"}
    got = session().post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers, timeout=PATIENCE)
    found = got.json()
    return got.status_code, found["choices"][0]["message"]["content"] if got.ok else found["error"]["code"]


def caller(rig: GatewayRig, name: str, **limits: int) -> tuple[str, str]:
    """A new caller's key: its id, and its secret."""
    made = rig.operator.call("POST", "/api/api-keys", {"name": name, "role": "caller", **limits})
    return str(made["key_id"]), str(made["key"])


def knows(gateway: GatewayProcess, key: str) -> bool:
    """Whether the gateway has the key, the model, and the host's tunnel."""
    got = session().get(f"{gateway.url}/v1/models", headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE)
    return got.ok and bool(got.json()["data"]) and gateway.metric("muster_gateway_tunnel_workers") == 1


def both_know(pair: Pair, key: str) -> None:
    rig, other = pair
    eventually(lambda: knows(rig.gateway, key) and knows(other, key), what="both gateways to know the key")


def test_both_are_listed_and_both_answer(pair: Pair) -> None:
    rig, other = pair
    both_know(pair, rig.key)
    listed = rig.operator.call("GET", "/api/gateways")["gateways"]
    assert {gateway["url"] for gateway in listed} == {rig.gateway.url, other.url}
    assert [answer(gateway, rig.key) for gateway in (rig.gateway, other)] == [(200, " token token")] * 2


def test_limits_are_per_gateway(pair: Pair) -> None:
    rig, other = pair
    _, key = caller(rig, "limited", rpm=1)
    both_know(pair, key)
    for gateway in (rig.gateway, other):
        assert [answer(gateway, key)[1] for _ in range(2)] == [" token token", "rate_limit_exceeded"]


def test_one_goes_on_alone_and_what_both_counted_is_added_up(pair: Pair) -> None:
    rig, other = pair
    key_id, key = caller(rig, "counted")
    both_know(pair, key)
    for gateway, count in ((rig.gateway, 3), (other, 2)):
        for _ in range(count):
            assert answer(gateway, key)[0] == 200
    other.stop()
    assert answer(rig.gateway, key)[0] == 200
    rig.gateway.stop()
    rows = rig.operator.call("GET", "/api/usage?by=key")["rows"]
    assert [row["requests"] for row in rows if row["key_id"] == key_id] == [6], "both reported it when they ended"
    for gateway in (rig.gateway, other):
        gateway.start()
    both_know(pair, key)
    assert answer(other, key) == (200, " token token")
