"""What tunnels cost a gateway that has nothing to do, and how soon agents are back after a gateway's restart."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from typing import Any

from bench.figure import Figure, Metric, Say, Subject
from bench.gateway_stack import MusterGateway
from bench.load import processor_seconds
from bench.peers import Bench
from bench.servers import REGISTRATION_TOKEN, ROOT, Caller

IDLE, BACK = "idle", "after a restart"
AGENTS = 20
WAIT_SECONDS = 60.0
METRICS = (
    Metric("memory", "KiB of the gateway for each tunnel", places=1),
    Metric("cpu", "µs of its CPU for each tunnel and second", places=1),
    Metric("back_p50", "s until half of the agents are back", places=2),
    Metric("back_p95", "s until 95 % are back", places=2),
    Metric("back_all", "s until all are back", places=2),
)


class Tunnels(Subject):
    """Workers without a host, whose tunnels are held by one process; and children of agents, which dial again."""

    name = "Muster"

    def __init__(self, bench: Bench, count: int) -> None:
        self._stack = MusterGateway(bench.fresh("tunnels"), bench.python)
        self._python, self._count, self._seconds = bench.python, count, 5 * bench.scale.seconds
        self._folder = bench.fresh("tunnels-children")

    def start(self, say: Say) -> None:
        self._stack.start()

    def stop(self) -> None:
        self._stack.stop()

    def measure(self, case: str) -> dict[str, float]:
        return self._idle() if case == IDLE else self._back()

    def _tickets(self, count: int, prefix: str) -> list[str]:
        """Tickets of so many new workers."""
        caller, found = Caller(self._stack.plane.port), []
        for number in range(count):
            body = self._stack.plane.registration(number) | {"name": f"{prefix}-{time.monotonic_ns()}-{number}"}
            body |= {"token": REGISTRATION_TOKEN, "machine_id": body["name"], "features": ["tunnel"]}
            found.append(caller.call("POST", "/api/workers/register", body)["gateways"]["gateways"][0]["ticket"])
        caller.close()
        return found

    def _idle(self) -> dict[str, float]:
        gateway = self._stack.gateway
        address = f"ws://127.0.0.1:{self._stack.port}/tunnel"
        plan = [{"address": address, "ticket": ticket} for ticket in self._tickets(self._count, "idle")]
        before = self._stack.memory()["gateway"]
        holder = subprocess.Popen(
            [str(self._python), "-m", "bench.idle_tunnels"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdin and holder.stdout
        try:
            holder.stdin.write(json.dumps(plan).encode() + b"\n")
            holder.stdin.flush()
            if holder.stdout.readline() != b"open\n":
                raise RuntimeError("the tunnels were not opened")
            memory = self._stack.memory()["gateway"] - before
            busy, began = processor_seconds([gateway]), time.monotonic()
            time.sleep(self._seconds)
            busy, lasted = processor_seconds([gateway]) - busy, time.monotonic() - began
        finally:
            holder.stdin.close()
            holder.wait()
        return {"memory": memory / 1024 / self._count, "cpu": 1e6 * busy / lasted / self._count}

    def _back(self) -> dict[str, float]:
        children = [self._child(ticket) for ticket in self._tickets(AGENTS, "back")]
        try:
            self._await_workers(AGENTS + 1)
            self._stack.kill_gateway()
            self._stack.start_gateway()
            return self._await_workers(AGENTS + 1)
        finally:
            for child in children:
                assert child.stdin
                child.stdin.close()
                child.wait()

    def _child(self, ticket: str) -> subprocess.Popen[bytes]:
        """The process that an agent starts for its tunnels."""
        orders = {"gateways": [{"url": f"http://127.0.0.1:{self._stack.port}", "ticket": ticket}]}
        with (self._folder / "children.log").open("ab") as log:
            command = [str(self._python), "-m", "muster_agent.tunnel"]
            pipe = subprocess.PIPE
            child = subprocess.Popen(command, cwd=ROOT / "agent", stdin=pipe, stdout=pipe, stderr=log)
        assert child.stdin
        child.stdin.write(json.dumps(orders).encode() + b"\n")
        child.stdin.flush()
        return child

    def _await_workers(self, count: int) -> dict[str, float]:
        """When half, 95 %, and all of the workers were connected, in seconds from now."""
        began = time.monotonic()
        wanted = {"back_p50": count // 2, "back_p95": -(-95 * count // 100), "back_all": count}
        found: dict[str, float] = {}
        while len(found) < len(wanted):
            connected, passed = self._connected(), time.monotonic() - began
            found |= {name: passed for name, least in wanted.items() if connected >= least and name not in found}
            if passed > WAIT_SECONDS:
                raise RuntimeError(f"{connected} of {count} agents are back after {passed:.0f} s")
            time.sleep(0.02)
        return found

    def _connected(self) -> float:
        connection = http.client.HTTPConnection("127.0.0.1", self._stack.port, timeout=10)
        try:
            connection.request("GET", "/metrics")
            lines: list[Any] = connection.getresponse().read().decode().splitlines()
        finally:
            connection.close()
        return sum(float(line.split()[1]) for line in lines if line.startswith("muster_gateway_tunnel_workers "))


def figure(bench: Bench) -> Figure:
    count = 20 if bench.scale.quick else 1000
    return Figure(
        name="tunnels",
        title="Idle tunnels, and agents that come back",
        text=(
            f"{count:,} tunnels that carry nothing, held open by one process; and {AGENTS} processes as agents start "
            "them, after the gateway was killed and started again: the seconds count from its first answer. TLS, which "
            "a proxy ends in front of a gateway, is not in it."
        ),
        cases=[IDLE, BACK],
        metrics=METRICS,
        subjects=[Tunnels(bench, count)],
    )
