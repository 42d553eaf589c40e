"""The gateway as one application: what it answers in each state, how it drains, and how its server ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from muster.api.errors import ApiError
from muster.api.gateways import Replica, Routes
from muster.gateway.config import GatewayConfig
from muster.gateway.gateway_process import Gateway, KeyRefused, build, not_serving, refused, run
from muster.gateway.listener import CannotServe, listen
from muster.gateway.trust import Trust
from muster.tunnel.protocol import PATH, SUBPROTOCOL, Close
from tests.fixtures import event_loop
from tests.fixtures.gateway_world import SECRET, Reply, ask, caller
from tests.fixtures.http_client import session
from tests.fixtures.ports import free_port
from tests.fixtures.routes_server import KEY, RoutesServer, error, routes_server
from tests.fixtures.waiting import PATIENCE, eventually

ROUTES = Routes([Replica("d", "qwen", "w", "gpu-1", tunnel=True)], [], [caller()], poll=0.5)


def config(folder: Path, plane: RoutesServer, **more: Any) -> GatewayConfig:
    return GatewayConfig("https://models.example", plane.url, more.pop("key", KEY), folder, **more)


def living(gateway: Gateway, act: Callable[[], Awaitable[Any]]) -> None:
    async def main() -> None:
        await gateway.start()
        try:
            await act()
        finally:
            await gateway.stop()

    event_loop.run(main())


async def get(gateway: Gateway, path: str, secret: str | None = SECRET) -> Reply:
    return await ask(gateway.application, path=path, method="GET", secret=secret)


def test_callers_get_answers_once_the_routes_are_there(tmp_path: Path) -> None:
    with routes_server() as plane:
        plane.routes = ROUTES
        gateway = build(config(tmp_path, plane))

        async def act() -> None:
            early = await get(gateway, "/v1/models")
            assert early.error == (503, "not_serving") and early.headers["retry-after"] == "5"
            assert (await get(gateway, "/healthz", None)).status == 503
            assert await gateway.core.link.first_attempt() is None
            listed = await get(gateway, "/v1/models")
            assert [each["id"] for each in listed.json["data"]] == ["qwen"]
            assert (await get(gateway, "/v1/models", "mst_key_other")).error == (401, "invalid_api_key")
            assert (await get(gateway, "/healthz", None)).json["status"] == "reachable"
            metrics = (await get(gateway, "/metrics", None)).body
            assert b'muster_gateway_rejected_total{reason="not_serving"} 1.0' in metrics

        living(gateway, act)


def test_a_revoked_gateway_refuses_everybody_and_says_why(tmp_path: Path) -> None:
    with routes_server() as plane:
        plane.routes = ROUTES
        gateway = build(config(tmp_path, plane, key="mst_key_other"))

        async def act() -> None:
            await gateway.core.is_revoked.wait()
            reply = await get(gateway, "/v1/models")
            assert reply.error == (503, "not_serving") and "revoked" in reply.json["error"]["message"]
            assert (await get(gateway, "/healthz", None)).json["status"] == "revoked"
            assert (await dial(gateway, "mst_tkt_1.x.y")) == [Close.BAD_TICKET]

        living(gateway, act)


async def dial(gateway: Gateway, ticket: str, path: str = PATH) -> list[int]:
    """The close codes that an agent with this ticket gets."""
    headers = [(b"authorization", f"Bearer {ticket}".encode())]
    scope = {"type": "websocket", "path": path, "headers": headers, "subprotocols": [SUBPROTOCOL]}
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await gateway.application(scope, receive, send)
    return [message["code"] for message in sent if message["type"] == "websocket.close"]


def test_what_a_gateway_that_serves_nobody_says_depends_on_why() -> None:
    trust = Trust(0.0, lambda: 0.0)
    assert "has not reached its control plane yet" in not_serving(trust).message
    trust.restore(10, 100)
    assert "for longer than it may" in not_serving(trust).message
    trust.revoke("401")
    assert "was revoked" in not_serving(trust).message


def test_a_gateway_drains_until_its_last_request_has_ended(tmp_path: Path) -> None:
    with routes_server() as plane:
        plane.routes = Routes([], [], [caller()], poll=0.5)
        gateway = build(config(tmp_path, plane))

        async def act() -> None:
            assert await gateway.core.link.first_attempt() is None
            assert await gateway.drain(0.0)
            assert (await get(gateway, "/healthz", None)).status == 503
            goes_on = asyncio.Event()

            async def receive() -> dict[str, Any]:
                await goes_on.wait()
                return {"type": "http.disconnect"}

            async def send(message: dict[str, Any]) -> None:
                pass

            key = [(b"authorization", f"Bearer {SECRET}".encode())]
            scope = {"type": "http", "method": "POST", "path": "/v1/embeddings", "raw_path": b"/v1/embeddings"}
            request = asyncio.ensure_future(gateway.application(scope | {"headers": key}, receive, send))
            await asyncio.sleep(0)
            assert gateway.running == 1 and not await gateway.drain(0.0)
            goes_on.set()
            assert await gateway.drain(PATIENCE) and gateway.running == 0
            await request

        living(gateway, act)


def test_an_ending_gateway_takes_no_more_tunnels(tmp_path: Path) -> None:
    with routes_server() as plane:
        gateway = build(config(tmp_path, plane))

        async def main() -> None:
            await gateway.start()
            await gateway.stop()
            assert await dial(gateway, "any") == [Close.GOING]

        event_loop.run(main())


def test_routes_that_drop_a_replica_drop_its_circuit(tmp_path: Path) -> None:
    with routes_server() as plane:
        plane.routes = ROUTES
        gateway = build(config(tmp_path, plane))

        async def act() -> None:
            await gateway.core.link.first_attempt()
            circuits = gateway.circuits
            for _ in range(3):
                circuits.failed("d", 0.0)
            assert b"muster_gateway_circuits_open 1.0" in gateway.core.telemetry.exposition()
            with plane.lock:
                plane.routes = Routes([], [], [caller()], 0.5)
            await gateway.core.table.wait_change(PATIENCE)
            assert b"muster_gateway_circuits_open 0.0" in gateway.core.telemetry.exposition()
            assert circuits.allows("d", 0.0)

        living(gateway, act)


def test_what_the_server_refuses_has_the_shape_of_openai() -> None:
    answer = refused(ApiError("INVALID_REQUEST", "the headers are too long"), b"/v1/models")
    assert answer.status == 400 and b'"code":"invalid_request"' in answer.body
    assert (b"Content-Length", b"%d" % len(answer.body)) in answer.headers


# With its server: signals reach the main thread alone, so whole processes are in tests/muster/cli/test_gateway_serve.py


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []

    def act() -> None:
        try:
            found.append(work())
        except Exception as raised:  # handed to the test
            found.append(raised)

    thread = threading.Thread(target=act)
    thread.start()
    return thread, found


def test_a_server_ends_by_itself_when_its_key_is_refused(tmp_path: Path) -> None:
    with routes_server() as plane:
        said: list[str] = []
        port = free_port()
        thread, ended = in_thread(lambda: run(config(tmp_path, plane, port=port), said.append))
        url = f"http://127.0.0.1:{port}/healthz"
        eventually(lambda: said[1:], what="its first words")
        assert session().get(url, timeout=PATIENCE).json()["status"] == "reachable"
        with plane.lock:
            plane.say["GET /api/gateway/routes"] = lambda: error(401, "UNAUTHENTICATED", "revoked")
        thread.join(PATIENCE)
    assert isinstance(ended[0], KeyRefused) and ended[0].error_code == "UNAUTHENTICATED"
    assert said[1:] == [
        "No model runs yet: muster deploy MODEL",
        "Callers need a key: muster keys create my-app --role caller",
    ]


def test_a_port_or_a_folder_that_cannot_be_had_leaves_nothing_behind(tmp_path: Path) -> None:
    with routes_server() as plane, listen("127.0.0.1", 0) as taken:
        with pytest.raises(CannotServe, match="in use"):
            run(config(tmp_path, plane, port=taken.getsockname()[1]), print)
        first = build(config(tmp_path, plane))
        port = free_port()
        with pytest.raises(CannotServe, match="another gateway"):
            run(config(tmp_path, plane, port=port), print)
        listen("127.0.0.1", port).close()
        first.close()
