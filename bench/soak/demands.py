"""What operators ask for during a soak, at random, and whether all of it came about."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from typing import Any

from bench.servers import ADMIN_KEY
from bench.soak.async_http import AsyncCaller, Trouble, Unanswered


@dataclass
class Demand:
    """The latest wish for a deployment, as the control plane accepted it."""

    worker: str
    wanted: str
    """`running` or `stopped`."""
    generation: int


class Demands:
    """Makes, restarts, and stops deployments, at most one at a time of each worker."""

    def __init__(self, port: int, trouble: Trouble, workers: list[str], luck: random.Random) -> None:
        self._caller = AsyncCaller(port, trouble, ADMIN_KEY)
        self._workers, self._luck = workers, luck
        self.accepted: dict[str, Demand] = {}
        self.asked = 0

    async def ask(self) -> None:
        """One random wish. A repeated request has the same key, so that a kill doubles nothing."""
        self.asked += 1
        running = [key for key, demand in self.accepted.items() if demand.wanted == "running"]
        busy = {self.accepted[key].worker for key in running}
        free = [worker for worker in self._workers if worker not in busy]
        kind = self._luck.choice(["deploy", "deploy", "restart", "stop"])
        try:
            if running and (kind != "deploy" or not free):
                await self._change(self._luck.choice(running), "restart" if kind == "deploy" else kind)
            elif free:
                await self._deploy(self._luck.choice(free))
        except Unanswered:
            return  # it is counted as an error

    async def _deploy(self, worker: str) -> None:
        body = {"model": "Qwen/Qwen3-0.6B", "worker_id": worker, "config": {"port": 8001}}
        given = await self._caller.call("POST", "/api/deployments", body, self._key())
        self.accepted[given["deployment_id"]] = Demand(worker, "running", given["generation"])

    async def _change(self, key: str, kind: str) -> None:
        given = await self._caller.call("POST", f"/api/deployments/{key}/{kind}", {}, self._key())
        demand = self.accepted[key]
        demand.wanted, demand.generation = "stopped" if kind == "stop" else "running", given["generation"]

    def _key(self) -> str:
        return uuid.UUID(int=self._luck.getrandbits(128)).hex

    async def listed(self) -> dict[str, Any]:
        """All deployments of the control plane, by id. Raises Unanswered."""
        found: dict[str, Any] = {}
        token = ""
        while True:
            path = "/api/deployments?limit=500" + (f"&next_token={token}" if token else "")
            page = await self._caller.call("GET", path)
            found |= {deployment["deployment_id"]: deployment for deployment in page["deployments"]}
            token = page["next_token"]
            if not token:
                return found

    def losses(self, listed: dict[str, Any], held: dict[str, str]) -> list[str]:
        """Each accepted demand that did not come about, in words. `held`: status by deployment, as agents have it."""
        return [text for key, demand in self.accepted.items() if (text := self._loss(key, demand, listed, held))]

    def _loss(self, key: str, demand: Demand, listed: dict[str, Any], held: dict[str, str]) -> str:
        stored = listed.get(key)
        if stored is None:
            return f"{key} is not in the list"
        if stored["generation"] != demand.generation:
            return f"{key} has generation {stored['generation']}, and {demand.generation} was accepted"
        if stored["status"] != demand.wanted:
            return f"{key} is {stored['status']}, and {demand.wanted} was wanted"
        # A deployment that was stopped before its deploy was sent never reached the agent.
        if held.get(key, "stopped") != demand.wanted:
            return f"{key} is {held.get(key)} at its agent, and {demand.wanted} was wanted"
        return ""

    def close(self) -> None:
        self._caller.close()
