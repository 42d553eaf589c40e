"""The child as the agent starts it: it follows its input, serves, drains, and ends with it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import msgspec

from muster_agent.tunnel.orders import Drained, GatewayOrder, Orders
from tests.fixtures import ROOT
from tests.fixtures.event_loop import run
from tests.fixtures.tunnel_rig import (
    DEPLOYMENT,
    WORKER,
    model_served,
    request,
    ticket,
    tunnels_served,
    until,
    whole_request,
)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "agent")])}


def test_it_serves_a_model_drains_it_and_ends_with_its_input() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    async def go() -> int | None:
        async with tunnels_served() as (tunnels, url), model_served(answer) as model:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "muster_agent.tunnel"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment(),
                cwd=ROOT,
            )
            assert child.stdin and child.stdout
            orders = Orders([GatewayOrder(url, ticket(url))], {DEPLOYMENT: model})
            child.stdin.write(msgspec.json.encode(orders) + b"\n")
            await until(lambda: tunnels.count, lambda count: count == 2)
            upstream = tunnels.upstream(WORKER)
            assert upstream is not None
            response = await upstream.send(request())
            assert await response.read() == b"hi"
            child.stdin.write(msgspec.json.encode(msgspec.structs.replace(orders, draining=["instance-1"])) + b"\n")
            assert msgspec.json.decode(await child.stdout.readline(), type=Drained) == Drained("instance-1")
            child.stdin.close()
            return await child.wait()

    assert run(go()) == 0


def test_it_imports_little() -> None:
    """Whatever it imports is resident on every host, and a child has 40 MiB."""
    program = "import sys, muster_agent.tunnel.child; print(*sorted(sys.modules))"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment(), cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"click", "docker", "psutil", "pynvml", "requests", "rich", "urllib3"}


def test_its_command_line_and_its_environment_hold_no_secret() -> None:
    from muster_agent.tunnel.tunnel_supervisor import CHILD

    assert (sys.executable, "-m", "muster_agent.tunnel") == CHILD
