"""Operators at work, by a seed: one thing after another, each asked again until the control plane has answered.

What they were told is kept, to be held against what there is in the end.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import requests

from muster.api.lifecycle import OPEN, OperationStatus
from tests.faults.instances import SLOT
from tests.fixtures.serve import ADMIN_KEY
from tests.fixtures.waiting import PATIENCE, eventually

ACTS = {"create": 3, "patch": 3, "stop": 3, "start": 3, "restart": 1, "delete": 2, "forget weights": 2, "look": 1}
"""How often each, of 18."""
MOST = 6
"""Deployments at once."""
PAUSES = (0.05, 0.4)
"""Seconds between two acts, at least and at most."""
TERMINAL = frozenset(OperationStatus) - OPEN


@dataclass
class Wish:
    """What was last asked for a slot. `seed` is a flag of vLLM's, which shows the configuration in the process."""

    deployment_id: str
    desired: str
    seed: int


@dataclass
class Churn:
    """`hub` is the worker's cache of weights, `operations` those that were to delete some of it: id to model."""

    url: str
    serve_url: str
    worker_id: str
    hub: Path
    random: Random
    wishes: dict[str, Wish] = field(default_factory=dict)
    operations: dict[str, str] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    acts: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    _made: int = 0

    def run(self, over: threading.Event) -> None:
        for _ in range(MOST // 2):
            self.acts["create"] += self._create()
        while not over.is_set():
            self._act()
            self.follow()
            over.wait(self.random.uniform(*PAUSES))

    def _act(self) -> None:
        act = self.random.choices([*ACTS], [*ACTS.values()])[0]
        if act == "create":
            done = len(self.wishes) < MOST and self._create()
        elif act == "forget weights":
            done = self._forget_weights()
        else:
            slots = [slot for slot, wish in self.wishes.items() if act != "delete" or wish.desired == "stopped"]
            done = bool(slots) and self._change(act, self.random.choice(slots))
        self.acts[act] += done

    def _create(self) -> bool:
        self._made += 1
        slot, seed = f"slot-{self._made}", self._seed()
        env = {SLOT: slot, "STANDIN_LOAD_SECONDS": str(round(self.random.uniform(0, 0.5), 2))}
        body = {"model": "org/tiny", "name": slot, "gpus": 0, "config": {"seed": seed}, "env": env}
        status, made = self.ask("POST", "/api/deployments", body)
        assert status == 201, made
        self.wishes[slot] = Wish(made["deployment_id"], "running", seed)
        return True

    def _change(self, act: str, slot: str) -> bool:
        wish = self.wishes[slot]
        path = f"/api/deployments/{wish.deployment_id}"
        match act:
            case "look":
                return self.ask("GET", f"{path}/logs?wait=0")[0] in (200, 202)
            case "patch":
                wish.seed = self._seed()
                return self.ask("PATCH", path, {"config": {"seed": wish.seed}})[0] == 200
            case "delete":
                # Where an answer was lost, the one who asks again is told that it is not there.
                gone = self.ask("DELETE", path)[0] in (200, 404)
                if gone:
                    del self.wishes[slot]
                return gone
        status, answer = self.ask("POST", f"{path}/{act}", {})
        assert status == 200, answer
        wish.desired = "stopped" if act == "stop" else "running"
        return True

    def _forget_weights(self) -> bool:
        """An operation that does harm if it runs twice: by then they were downloaded again.

        A DELETE that is repeated is another operation, so this one is asked once, past the proxy.
        """
        self._made += 1
        model = f"org/m{self._made}"
        self._download(model)
        url = f"{self.serve_url}/api/workers/{self.worker_id}/models/{model.replace('/', '%2F')}?wait=0"
        try:
            answer = self._once("DELETE", url)
        except requests.RequestException:
            return False  # killed; whether it was asked, nobody knows
        if answer.status_code == 202:
            self.operations[answer.json()["operation_id"]] = model
        return answer.status_code == 202

    def follow(self) -> None:
        """Whatever ended: its weights are downloaded again."""
        for operation_id in self.operations.keys() - self.ended.keys():
            _, seen = self.ask("GET", f"/api/operations/{operation_id}")
            if seen["status"] in TERMINAL:
                self.ended[operation_id] = seen["error_code"] or seen["status"]
                self._download(self.operations[operation_id])

    def _download(self, model: str) -> None:
        self.weights(model).parent.mkdir(parents=True, exist_ok=True)
        self.weights(model).write_bytes(b"weights")

    def weights(self, model: str) -> Path:
        return self.hub / f"models--{model.replace('/', '--')}" / "blobs" / "weights"

    def _seed(self) -> int:
        return self.random.randrange(1, 10**6)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and body of the control plane's own answer. A POST that is asked again is the same one."""
        key = f"{self.random.getrandbits(128):032x}" if method == "POST" else None

        def attempt() -> requests.Response | None:
            with suppress(requests.RequestException):  # the fault that was asked for
                answer = self._once(method, self.url + path, body, key)
                if answer.status_code < 500:
                    return answer
            self.retries += 1
            return None

        answer = eventually(attempt, lambda answer: answer is not None, f"an answer to {method} {path}")
        assert answer is not None
        return answer.status_code, answer.json()

    def _once(self, method: str, url: str, body: Any = None, key: str | None = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {ADMIN_KEY}", "Idempotency-Key": key}
        return requests.request(method, url, json=body, headers=headers, timeout=PATIENCE)
