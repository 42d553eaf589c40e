"""A worker that somebody wrote from worker-api.md alone: no sessions, no generations, no acks, no journal."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec
import requests

from tests.simulation.cloud import Network
from tests.simulation.faults import Faults
from tests.simulation.hosts import GPUS

Body = dict[str, Any]


class BasicClient:
    """It does what it is told before it asks again, and tries each request until it is answered.

    One that went on asking could not be understood: of a deploy, a stop and a deploy of one id, whose report is it?

    `bearer_is_its_own` reads worker-api.md as if the token of the registration were the Bearer too.
    """

    def __init__(self, name: str, network: Network, faults: Faults, token: str) -> None:
        self.name, self.token = name, token
        self._network, self._faults = network, faults
        self._bearer_is_its_own = faults.random.random() < 0.5
        # The deploy that each container is of, for the questions at the end.
        self.containers: dict[str, Body] = {}
        self.worker_id: str | None = None
        self.restart()

    def restart(self) -> None:
        """It remembers nothing, finds its containers and says so. Never in the middle of a command: what it said that
        it does and then forgot, nobody can know."""
        self._bearer: str | None = None
        self._orders: deque[Body] = deque()
        self._to_say: deque[tuple[str, Body]] = deque((each, {"status": "running"}) for each in self.containers)

    @property
    def idle(self) -> bool:
        return not self._orders and not self._to_say

    def beat(self) -> None:
        if not self.idle or (self._bearer is None and not self._register()):
            return
        body = {"status": "online", "gpu_usage": [], "active_deployments": sorted(self.containers)}
        answer = self._post("heartbeat", [str(self.worker_id)], body)
        for command in answer["commands"] if answer else []:
            self._take(command)

    def work(self) -> None:
        """The next thing that it has to say, and to do."""
        if not self._to_say and self._orders:
            self._begin(self._orders[0])
        if not self._to_say or (self._bearer is None and not self._register()):
            return
        deployment_id, body = self._to_say[0]
        answer = self._post("status", [str(self.worker_id), deployment_id], body)
        if answer is None:
            return
        self._to_say.popleft()
        if answer.get("error_code") == "DEPLOYMENT_NOT_FOUND":  # it came too late: nobody wants this any more
            self._to_say.clear()
        elif body["status"] == "starting":
            self.containers[deployment_id] = self._orders[0]
            self._faults.happened["basic client started a container"] += 1
        elif body["status"] == "stopping":
            self.containers.pop(deployment_id, None)
        if not self._to_say and self._orders:
            self._orders.popleft()

    def _take(self, command: Body) -> None:
        """What is to be done, unless it is what was last said of this deployment already."""
        deployment_id = command.get("deployment_id")
        if deployment_id is None:
            return
        last = next((each for each in reversed(self._orders) if each["deployment_id"] == deployment_id), None)
        if last is None or last["type"] != command["type"]:
            self._orders.append(command)

    def _begin(self, command: Body) -> None:
        deployment_id = command["deployment_id"]
        runs = deployment_id in self.containers
        if command["type"] == "deploy":
            said: list[Body] = [{"status": "running"}] if runs else [{"status": "starting"}, {"status": "running"}]
        else:
            said = [{"status": "stopping"}, {"status": "stopped"}] if runs else [{"status": "stopped"}]
        self._to_say = deque((deployment_id, {**each, "container_id": "abc", "port": 8001}) for each in said)

    def _register(self) -> bool:
        info = {"count": GPUS, "devices": [{"index": index} for index in range(GPUS)]}
        body = {"name": self.name, "token": self.token, "gpu_info": info, "system_info": {"hostname": self.name}}
        answer = self._post("register", [], body)
        if answer is None:
            return False
        self.worker_id = answer["worker_id"]
        self._bearer = self.token if self._bearer_is_its_own else answer["token"]
        return True

    def _post(self, kind: str, ids: list[str], body: Body) -> Body | None:
        """None where it is to be tried again. What is refused for good counts as said."""
        encoded, bearer = msgspec.json.encode(body), f"Bearer {self._bearer}"
        try:
            status, content, _ = self._network.exchange(self.name, kind, ids, bearer, encoded, late=False)
        except requests.RequestException:
            return None
        ended = status in (401, 403) or (status == 409 and kind == "heartbeat")
        if ended or status >= 500:
            self._bearer = None if ended else self._bearer
            return None
        answer: Body = msgspec.json.decode(content)
        return answer if status < 400 or kind == "status" else None
