"""People who deploy, change their minds, and ask for things, at random; what they asked is kept for the questions at
the end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from chalicelib.auth.tokens import Principal
from chalicelib.deployments import intents
from chalicelib.fleet.workers import ONLINE_WINDOW
from chalicelib.operations import queue
from chalicelib.store.idempotency import Key
from chalicelib.store.items import TransactionConflict
from chalicelib.store.tables import Deployment, WorkerHeartbeat
from chalicelib.workers import admin
from muster.api import resources as r
from muster.api.endpoints import Access
from muster.api.errors import ApiError
from tests.simulation.cloud import Cloud
from tests.simulation.hosts import GPUS, RACK, RACKS

LISTS: list[int | list[int]] = [[0], [1], [0, 1]]
"""GPUs by index, in the place of how many."""
CROWD = 70
"""Deployments at once: more than one answer has commands."""

OPERATOR = Principal("key operator", Access.OPERATOR, "operator")


@dataclass
class Asked:
    """`ended`: whose container was asked to stop, as a container. `touched`: of whom anything was asked.

    `relabeled` are the workers whose labels an operator has set, `lost` those that were given up.
    """

    deployments: list[str] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    prunes: int = 0
    ended: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    relabeled: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)


class Operators:
    """`worker_ids` are those that somebody could know of."""

    def __init__(self, cloud: Cloud, worker_ids: Callable[[], list[str]], containers: Callable[[], list[Any]]) -> None:
        self._cloud, self._faults = cloud, cloud.faults
        self._worker_ids, self._containers = worker_ids, containers
        self.asked = Asked()
        self._pulls = self._names = 0

    @property
    def now(self) -> float:
        return self._faults.now

    @property
    def restless(self) -> bool:
        """Whether they move things more than anything else."""
        return self._faults.storm == "restless operators"

    def act(self) -> None:
        """One thing."""
        choice = self._faults.random.choice
        actions = [self._deploy, self._deploy, self._ask, self._ask, self._cancel]
        silent = [each for each in self._worker_ids() if self._is_silent(each)]
        if silent:
            actions.append(lambda: self._lose(choice(silent)))
        if self.asked.deployments:
            actions += [self._intend] * 7
        choice(actions)()

    def intend(self, deployment_id: str, name: str) -> None:
        """One intent; `name` is the function of intents.py."""
        change: dict[str, Callable[[], object]] = {
            "stop": lambda: intents.stop(deployment_id, OPERATOR, self.now),
            "start": lambda: intents.start(deployment_id, OPERATOR, self.now),
            "restart": lambda: intents.restart(deployment_id, OPERATOR, self.now),
            "delete": lambda: intents.delete(deployment_id, OPERATOR, self.now),
            "patch": lambda: intents.patch(deployment_id, self._patch(), OPERATOR, self.now),
        }
        self.asked.touched.add(deployment_id)
        self._do(name, deployment_id, change[name])

    def _is_silent(self, worker_id: str) -> bool:
        heartbeat = next(
            (each for each in self._cloud.database.items(WorkerHeartbeat) if each["worker_id"]["S"] == worker_id), None
        )
        return heartbeat is not None and "g" not in heartbeat and self.now - float(heartbeat["ls"]["N"]) > ONLINE_WINDOW

    def _lose(self, worker_id: str) -> None:
        """Somebody believes that it will not come back."""
        self.asked.lost.add(worker_id)
        self._do("lost", worker_id, lambda: admin.lose(worker_id, OPERATOR, self.now))

    def _intend(self) -> None:
        names = ["stop", "stop", "start", "restart", "patch", "delete"]
        if self.restless:
            names += ["patch"] * 6
        self.intend(self._faults.random.choice(self.asked.deployments), self._faults.random.choice(names))

    def _do(self, name: str, about: str, act: Callable[[], object]) -> bool:
        """Whether it went through; a killed function may have done all of it."""
        self._faults.happened[f"operator: {name}"] += 1
        try:
            survived, _ = self._cloud.run(name, act)
            outcome = "done" if survived else "killed"
        except (ApiError, TransactionConflict) as error:
            outcome = getattr(error, "error_code", "refused")
        self._faults.note(f"operator {name} {about}: {outcome}")
        return outcome == "done"

    def crowd(self) -> None:
        """Many small deployments for one worker, all at once."""
        known = self._worker_ids()
        if known:
            worker_id = self._faults.random.choice(known)
            self._faults.happened["many deployments at once"] += 1
            for _ in range(CROWD):
                self._create(r.NewDeployment(model="org/model", gpus=0, worker_id=worker_id))

    def _deploy(self) -> None:
        random = self._faults.random
        known = self._worker_ids()
        body = r.NewDeployment(
            model="org/model",
            gpus=self._gpus(),
            worker_id=random.choice(known) if known and random.random() < 0.4 else None,
            selector={RACK: random.choice(RACKS)} if random.random() < 0.2 else {},
            restart=random.choice(["on-failure", "on-failure", "never"]),
        )
        self._faults.happened["deploy with a selector"] += bool(body.selector)
        self._create(body)

    def _gpus(self) -> int | list[int]:
        random = self._faults.random
        if random.random() < 0.2:
            self._faults.happened["GPUs by index"] += 1
            return random.choice(LISTS)
        return random.choice([1, GPUS] if self.restless else [0, 0, 1, 1, GPUS])

    def _create(self, body: r.NewDeployment) -> None:
        """With an Idempotency-Key: who gets no answer asks once more, and gets no second deployment."""
        self._names += 1
        body = replace(body, config={"seed": self._names})
        key = Key(f"once#{self._names}", hashlib.sha256(str(self._names).encode()).hexdigest())
        made: list[Deployment] = []

        def create() -> None:
            made.append(intents.create(body, OPERATOR, self.now, key))

        for _ in range(3):
            if self._do("deploy", str(self._names), create):
                break
        self.asked.deployments += [str(each.deployment_id) for each in made[:1]]
        marked = f'"seed":{self._names}}}'
        if sum(marked in item.get("spec", {}).get("S", "") for item in self._cloud.database.items(Deployment)) > 1:
            raise AssertionError("one Idempotency-Key made two deployments")

    def _patch(self) -> r.DeploymentPatch:
        random, known = self._faults.random, self._worker_ids()
        match random.randrange(1 if self.restless else 0, 3):
            case 0:
                return r.DeploymentPatch(config={"seed": 0, "max_model_len": random.randrange(1, 9999)})
            case 1:
                return r.DeploymentPatch(gpus=random.choice([0, 1, GPUS, *LISTS]))
        return r.DeploymentPatch(worker_id=random.choice(known)) if known else r.DeploymentPatch(gpus=0)

    def _ask(self) -> None:
        known = self._worker_ids()
        if not known:
            return
        worker_id = self._faults.random.choice(known)
        kinds = ["pull", "pull", "prune", "delete_image", "stop_container", "read", "drain", "relabel"]
        kind = self._faults.random.choice(kinds)
        self._pulls += kind in ("pull", "delete_image")
        wanted: dict[str, tuple[str, dict[str, Any]]] = {
            "pull": ("pull_image", {"image": f"image:{self._pulls}"}),
            "delete_image": ("delete_image", {"image_id": f"none:{self._pulls}", "force": False}),
            "prune": ("prune", {"images": False, "containers": True, "volumes": False, "dry_run": False}),
            "read": ("list_containers", {}),
        }
        if kind == "drain":
            patch = r.WorkerPatch(draining=self._faults.random.random() < 0.3)
            self._do("drain", worker_id, lambda: admin.patch(worker_id, patch, OPERATOR, self.now))
        elif kind == "relabel":
            labels = r.WorkerPatch(labels={RACK: self._faults.random.choice(RACKS)})
            self.asked.relabeled.add(worker_id)
            self._do("relabel", worker_id, lambda: admin.patch(worker_id, labels, OPERATOR, self.now))
        elif kind == "stop_container":
            self._stop_container(worker_id)
        else:
            type_, parameters = wanted[kind]
            self._enqueue(worker_id, type_, parameters)

    def _stop_container(self, worker_id: str) -> None:
        here = [each for each in self._containers() if each.worker_id == worker_id]
        if here:
            container = self._faults.random.choice(here)
            self.asked.ended.add(container.deployment_id)
            self._enqueue(worker_id, "stop_container", {"container_id": container.id})

    def _enqueue(self, worker_id: str, type_: str, parameters: dict[str, Any]) -> None:
        def ask() -> None:
            made = queue.enqueue(worker_id, type_, parameters, OPERATOR.label, self.now)
            self.asked.operations.append(str(made.operation_id))

        self.asked.prunes += type_ == "prune"
        self._do(type_, worker_id, ask)

    def _cancel(self) -> None:
        if self.asked.operations:
            # Most often one that was asked for just now: what is older was sent long ago.
            known = self.asked.operations[-3:]
            operation_id = self._faults.random.choice(known)
            self._do("cancel", operation_id, lambda: queue.cancel(operation_id, OPERATOR.label, self.now))
