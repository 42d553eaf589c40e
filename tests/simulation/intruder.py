"""Other hosts of the fleet, which have the same registration token, ask to be a worker that is online.

Each knows what is not secret: the name, the hostname, and the worker id. What it gets is held against what it may get
while that worker is there: no command, and no report that counts.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import requests

from chalicelib.auth import tokens
from chalicelib.fleet.workers import ONLINE_WINDOW
from chalicelib.store.tables import Deployment, WorkerHeartbeat
from infra.local.dynamodb.attributes import Item
from tests.simulation.cloud import Network
from tests.simulation.database import UnreliableDynamoDB
from tests.simulation.faults import Faults

Body = dict[str, Any]
KINDS: tuple[Body, ...] = (
    {},
    {},
    {"machine_id": "forged"},
    {"boot_id": "an-intruders"},
    {"boot_id": "an-intruders", "past_boot_ids": ["guessed"]},
)


class Intruder:
    """`found` are the violations: what it got although the worker was online before and after."""

    def __init__(self, database: UnreliableDynamoDB, network: Network, faults: Faults, token: str) -> None:
        self._database, self._network, self._faults, self._token = database, network, faults, token
        self._issued: str | None = None
        self._began = faults.now
        self.found: list[str] = []

    def act(self, worker_id: str | None, name: str, hostname: str) -> None:
        """One thing that it may try; nothing where the worker is not there to be disturbed."""
        if worker_id is None or not self._is_there(worker_id):
            return
        self._began = self._faults.now
        kind = self._faults.random.choice(["register", "register", "heartbeat", "heartbeat", "status", "result"])
        if kind == "register":
            self._register(worker_id, name, hostname)
        elif self._issued is not None:
            self._use(kind, worker_id, self._issued)

    def _register(self, worker_id: str, name: str, hostname: str) -> None:
        self._faults.happened["an intruder asked for a name"] += 1
        kind = self._faults.random.choice(KINDS)
        info = {"count": 0, "devices": []}
        body = {"name": name, "token": self._token, "gpu_info": info, "system_info": {"hostname": hostname}}
        status, answer = self._post("register", [], body | kind, "")
        if status == 409:
            self._faults.happened["an intruder was refused"] += 1
        if status == 200:
            self._faults.happened["an intruder was kept aside"] += 1
            self._issued = answer["token"]
            self._expect(worker_id, answer["worker_id"] == worker_id, "another worker's id")

    def _use(self, kind: str, worker_id: str, bearer: str) -> None:
        if kind == "heartbeat":
            body: Body = {"status": "online", "gpu_usage": [], "active_deployments": []}
            _, answer = self._post(kind, [worker_id], body, bearer)
            self._expect(worker_id, not answer.get("commands"), f"commands {answer.get('commands')}")
            return
        status = self._faults.random.choice(["stopped", "error"] if kind == "status" else ["failed"])
        known = [item["deployment_id"]["S"] for item in self._database.items(Deployment) if "status" in item]
        about = self._faults.random.choice([*known, "a guess"])
        _, answer = self._post(kind, [worker_id, about], {"status": status}, bearer)
        self._expect(worker_id, not answer.get("applied"), f"its word on {about}")

    def _post(self, kind: str, ids: list[str], body: Body, bearer: str) -> tuple[int, Body]:
        """Status and body; 0 where nothing came back."""
        encoded = msgspec.json.encode(body)
        try:
            status, content, _ = self._network.exchange("intruder", kind, ids, f"Bearer {bearer}", encoded, late=False)
            return status, msgspec.json.decode(content)
        except (requests.RequestException, msgspec.DecodeError):
            return 0, {}

    def _expect(self, worker_id: str, holds: bool, what: str) -> None:
        """Unless time passed meanwhile, in a function that overtook this one: then the worker may have been silent."""
        if self._faults.now > self._began:
            return
        item = self._heartbeat(worker_id)
        own = tokens.digest(self._issued) if self._issued else b""
        is_it = item is not None and base64.b64decode(_binary(item.get("d"))) == own
        if is_it or not holds:
            self.found.append(f"an intruder got {'the worker itself' if is_it else what}, and its worker was online")

    def _is_there(self, worker_id: str) -> bool:
        """Online, for longer than this request takes, and known to use a token of its own."""
        item = self._heartbeat(worker_id)
        if item is None or "g" in item or item["st"]["S"] == "offline":
            return False
        heard = self._faults.now - float(item["ls"]["N"]) < ONLINE_WINDOW - 20
        has_spoken = float(item["n"]["N"]) > 0 and "j" not in item
        return heard and has_spoken

    def _heartbeat(self, worker_id: str) -> Item | None:
        return next(
            (each for each in self._database.items(WorkerHeartbeat) if each["worker_id"]["S"] == worker_id), None
        )


def _binary(attribute: dict[str, Any] | None) -> str:
    value = (attribute or {}).get("B", "")
    return value if isinstance(value, str) else base64.b64encode(bytes(value)).decode()
