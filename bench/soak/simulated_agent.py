"""An agent of docs/protocol.md without containers: it registers, sends heartbeats, acknowledges, and reports."""

from __future__ import annotations

import asyncio
import random
import uuid
from dataclasses import dataclass
from typing import Any

from bench.servers import REGISTRATION_TOKEN
from bench.soak.async_http import AsyncCaller, Trouble, Unanswered

STEP_SECONDS = 0.5
"""Between two reports of a deployment that starts or stops."""
JITTER = 0.1
STEPS = {"deploy": ("downloading", "starting", "running"), "stop": ("stopping", "stopped")}
GIB = 1024**3


@dataclass
class Held:
    """A deployment of this worker: the generation of its latest command, and the status that was reported last."""

    generation: int
    status: str = "pending"


class SimulatedAgent:
    """`held` is what a real agent would have in its journal."""

    def __init__(self, number: int, port: int, trouble: Trouble, luck: random.Random) -> None:
        self.name = f"soak-{number:05d}"
        self._caller = AsyncCaller(port, trouble)
        self._luck = luck
        self._boot = uuid.UUID(int=luck.getrandbits(128)).hex
        self.identity, self._session, self._sequence = "", 0, 0
        self._inbox: int | None = None
        self._acks: list[str] = []
        self.held: dict[str, Held] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def _registration(self) -> dict[str, Any]:
        device = {"name": "NVIDIA A100-SXM4-80GB", "memory_total": 80 * GIB, "cuda_version": "12.4"}
        devices = [device | {"index": index, "uuid": f"GPU-{self._boot}-{index}"} for index in range(2)]
        return {
            "name": self.name,
            "token": REGISTRATION_TOKEN,
            "gpu_info": {"count": 2, "devices": devices},
            "system_info": {"hostname": self.name, "cpu_count": 64, "memory_total": 256 * GIB, "os": "Linux"},
            "machine_id": f"machine-{self.name}",
            "boot_id": self._boot,
            "agent_version": "0.2.0",
        }

    async def register(self) -> None:
        """Raises Unanswered. A registration that is sent again with the same boot id is the same session."""
        given = await self._caller.call("POST", "/api/workers/register", self._registration())
        self.identity, self._session, self._caller.bearer = given["worker_id"], given["session"], given["token"]

    async def run(self) -> None:
        """Heartbeats until it is cancelled; each when the control plane wants it, give or take a tenth."""
        while True:
            wait = await self.beat()
            await asyncio.sleep(wait * self._luck.uniform(1 - JITTER, 1 + JITTER))

    async def beat(self) -> float:
        """One heartbeat, and what it brings. Returns the seconds to the next."""
        acks = self._acks
        try:
            answer = await self._caller.call("POST", f"/api/workers/{self.identity}/heartbeat", self._heartbeat(acks))
        except Unanswered:
            return 1.0
        self._inbox = answer["inbox"]
        self._acks = self._acks[len(acks) :]
        for command in answer["commands"]:
            self._take(command)
        # Acknowledgments do not wait for the next interval.
        return 0.2 if self._acks else float(answer["next_heartbeat_in"])

    def _heartbeat(self, acks: list[str]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "status": "online",
            "gpu_usage": [{"index": index, "memory_used": 45 * 10**9, "utilization": 85} for index in range(2)],
            "active_deployments": [key for key, held in self.held.items() if held.status != "stopped"],
            "session": self._session,
            "journal_id": self._boot,
        }
        if acks:
            body["acks"] = list(acks)
        if self._inbox is not None:
            body["inbox"] = self._inbox
        return body

    def _take(self, command: dict[str, Any]) -> None:
        """Begin what a new generation wants; one that is known is acknowledged once more."""
        self._acks.append(command["command_id"])
        key, generation = command.get("deployment_id", ""), command.get("generation", 0)
        if command["type"] not in STEPS or (key in self.held and self.held[key].generation >= generation):
            return
        if key in self._tasks:
            self._tasks[key].cancel()
        self.held[key] = Held(generation, self.held[key].status if key in self.held else "pending")
        self._tasks[key] = asyncio.create_task(self._go(key, self.held[key], STEPS[command["type"]]))

    async def _go(self, key: str, held: Held, steps: tuple[str, ...]) -> None:
        """Report each step. A later command of the deployment ends this, at whatever step it is."""
        for status in steps:
            held.status = status
            await self._report(key, held)
            await asyncio.sleep(STEP_SECONDS)

    async def _report(self, key: str, held: Held) -> None:
        self._sequence += 1
        order = {"session": self._session, "generation": held.generation, "sequence": self._sequence}
        more: dict[str, Any] = (
            {"container_id": f"c-{held.generation}", "port": 8001} if held.status == "running" else {}
        )
        path = f"/api/workers/{self.identity}/deployments/{key}/status"
        try:
            await self._caller.call("POST", path, {"status": held.status} | order | more)
        except Unanswered:
            return  # it is counted as an error, and the run has failed

    async def settled(self) -> None:
        """Returns when every step of every command has been reported."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        self._caller.close()
