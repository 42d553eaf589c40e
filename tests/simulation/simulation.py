"""One seed: a fleet, operators and faults at random, and then calm; what must hold at every instant, and what after.

The services, the routes and the agent are the real ones, in process; time, network, engine and disk are not.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from agent.engines import Instance
from chalicelib import deployments, events, liveness, operations, tokens
from chalicelib.contract import resources as r
from chalicelib.contract.endpoints import Access
from chalicelib.contract.errors import ApiError
from chalicelib.contract.lifecycle import OPEN, OperationStatus
from chalicelib.store import Refused, find
from chalicelib.tables import Deployment, Slot
from tests.agent.world import World
from tests.server.database import Recorder
from tests.simulation.network import Network, Weather, cut_off

JOIN = "a registration token for many workers"
OPERATOR = tokens.Principal("key operator", Access.OPERATOR, "operator")
START = 1_800_000_000.0
HOSTS, STEPS, CALM = 2, 70, 40


class Violation(AssertionError):
    """Something was lost, or run twice."""


class Host(World):
    """A machine with an agent, and with somebody else's container on it."""

    def __init__(self, folder: Path, name: str, network: Network) -> None:
        super().__init__(folder)
        self.name = name
        self.server = network
        self.engine.available |= {f"image:{n}" for n in range(1000)}
        self.stranger = self.engine.add(Instance("stranger", "somebody-elses", "db", "running"))

    def step(self) -> None:
        if self.agent.crew is not None:
            self.settle(1)

    def running(self) -> list[Instance]:
        return [each for each in self.engine.instances() if each.state == "running" and each.deployment_id]

    def crash(self, wipe: bool) -> None:
        self.kill()
        if wipe:
            shutil.rmtree(self.folder / "state")
        self.boot(JOIN)


class Simulation:
    def __init__(self, seed: int, database: Recorder, folder: Path) -> None:
        self.random, self.database = Random(seed), database
        self.weather = Weather(self.random)
        self.now = START
        self.trace: list[str] = []
        self.deployments: list[str] = []
        self.operations: list[str] = []
        self.pulls = 0
        tokens.seed_registration_token(JOIN, self.now)
        self.hosts = [self._host(folder / f"host-{n}", f"host-{n}") for n in range(HOSTS)]

    def _host(self, folder: Path, name: str) -> Host:
        host = Host(folder, name, Network(self.database, self.weather, lambda: self.now))
        host.clock.now = self.now
        host.boot(JOIN)
        return host

    def run(self) -> None:
        for _ in range(STEPS):
            self._step()
            self._always()
        self.weather.bad = False
        for host in self.hosts:
            host.server.late_ones_arrive()  # type: ignore[attr-defined]
        for _ in range(CALM):
            self._pass(20)
            for host in self.hosts:
                self._rejoin_if_parked(host)
                self._beat(host)
                host.settle(2)
            liveness.expire(self.now)
            self._always()
        self._in_the_end()

    # What happens

    def _step(self) -> None:
        host = self.random.choice(self.hosts)
        happenings: list[tuple[int, Callable[[], object]]] = [
            (30, lambda: self._beat(host)),
            (30, host.step),
            (30, self._operator),
            (4, lambda: host.crash(wipe=False)),
            (1, lambda: host.crash(wipe=True)),
            (4, lambda: self._model_dies(host)),
            (3, lambda: liveness.expire(self.now)),
            (3, host.server.late_ones_arrive),  # type: ignore[attr-defined]
            (1, lambda: self._pass(100)),
        ]
        weights, actions = zip(*happenings, strict=True)
        index = self.random.choices(range(len(actions)), weights)[0]
        self._pass(self.random.choice([0.1, 1, 5, 20]))
        if index > 2:
            self.trace.append(f"{self.now - START:8.1f} {host.name} happening {index}")
        actions[index]()

    def _rejoin_if_parked(self, host: Host) -> None:
        """An old registration that arrives late looks like a second machine: the agent rests until told otherwise."""
        if host.state.parked is not None:
            self.weather.happened["rejoined by its owner"] += 1
            host.state.unpark()
            host.crash(wipe=False)

    def _pass(self, seconds: float) -> None:
        self.now += seconds
        for host in self.hosts:
            host.clock.now = max(host.clock.now, self.now)

    def _beat(self, host: Host) -> None:
        if host.agent.crew is not None:
            host.agent.crew.watch.step()  # it looks every four seconds; only the journal may be that old
        host.agent.tick(host.clock.now)

    def _model_dies(self, host: Host) -> None:
        alive = host.running()
        if alive:
            host.engine.die(self.random.choice(alive).id, 1, "RuntimeError: it died")

    def _operator(self) -> None:
        known = self.random.choice(self.deployments) if self.deployments else None
        actions: list[tuple[str, Callable[[], Any]]] = [
            ("deploy", self._deploy),
            ("pull", self._pull),
            ("cancel", self._cancel),
        ]
        if known:
            actions += [
                ("stop", lambda: deployments.stop(known, OPERATOR, self.now)),
                ("start", lambda: deployments.start(known, OPERATOR, self.now)),
                ("restart", lambda: deployments.restart(known, OPERATOR, self.now)),
                ("delete", lambda: deployments.delete(known, OPERATOR, self.now)),
                ("patch", lambda: deployments.patch(known, self._patch(), OPERATOR, self.now)),
            ]
        name, action = self.random.choice(actions)
        outcome = "killed"
        with cut_off(self.database, self.weather):
            try:
                action()
                outcome = "done"
            except (ApiError, Refused) as error:
                outcome = getattr(error, "error_code", "refused")
        self.weather.happened[f"operator: {name}"] += 1
        self.trace.append(f"{self.now - START:8.1f} operator {name} {known or ''}: {outcome}")

    def _patch(self) -> r.DeploymentPatch:
        if self.random.random() < 0.5:
            return r.DeploymentPatch(config={"max_model_len": self.random.randrange(1, 9999)})
        machines = [worker for worker in (host.agent.identity for host in self.hosts) if worker]
        return r.DeploymentPatch(worker_id=self.random.choice(machines).worker_id if machines else "none")

    def _deploy(self) -> None:
        before = {str(each.deployment_id) for each in Deployment.scan(Deployment.kind == "deployment")}
        body = r.NewDeployment(model="org/model", gpus=0, name=f"d{len(self.trace)}")
        try:
            deployments.create(body, OPERATOR, self.now)
        finally:
            kill_after, self.database.kill_after = self.database.kill_after, None
            after = {str(each.deployment_id) for each in Deployment.scan(Deployment.kind == "deployment")}
            self.database.kill_after = kill_after
            self.deployments += sorted(after - before)

    def _pull(self) -> None:
        machines = [worker for worker in (host.agent.identity for host in self.hosts) if worker]
        if machines:
            self.pulls += 1
            wanted = {"image": f"image:{self.pulls}"}
            made = operations.enqueue(
                self.random.choice(machines).worker_id, "pull_image", wanted, OPERATOR.label, self.now
            )
            self.operations.append(str(made.operation_id))

    def _cancel(self) -> None:
        if self.operations:
            operations.cancel(self.random.choice(self.operations), OPERATOR.label, self.now)

    # What must hold

    def _always(self) -> None:
        for host in self.hosts:
            alive = [each.deployment_id for each in host.running()]
            if len(alive) != len(set(alive)):
                raise Violation(f"{host.name} runs two containers of one deployment: {host.running()}")
            if host.engine.all.get("stranger") != host.stranger:
                raise Violation(f"somebody else's container was touched on {host.name}")
            pulled = [call for call in host.engine.calls if call.startswith("pull image:")]
            if len(pulled) != len(set(pulled)):
                raise Violation(f"an operation ran twice on {host.name}: {pulled}")

    def _in_the_end(self) -> None:
        for deployment_id in self.deployments:
            self._agrees(deployment_id, find(Deployment, deployment_id))
        for operation_id in self.operations:
            operation = operations.load(operation_id, self.now)
            if OperationStatus(operation.status) in OPEN:
                raise Violation(f"operation {operation_id} is {operation.status} for ever")

    def _agrees(self, deployment_id: str, deployment: Deployment | None) -> None:
        """The containers are what is wanted, and the status is what the containers are."""
        runs = [
            (host.name, each.generation)
            for host in self.hosts
            for each in host.running()
            if each.deployment_id == deployment_id
        ]
        if deployment is None:
            wanted: list[Any] = []
            status, expected = "deleted", {"deleted"}
        elif deployment.desired == "stopped":
            wanted, status, expected = [], deployment.status, {"stopped", "error"}
        else:
            home = next(
                (h for h in self.hosts if h.agent.identity and h.agent.identity.worker_id == deployment.worker_id), None
            )
            wanted = [(home.name if home else None, int(deployment.generation))]
            status, expected = deployment.status, {"running"}
        if runs != wanted or status not in expected:
            code = deployment.error_code if deployment else None
            timeline = events.timeline([deployment_id], r.EventsQuery(limit=100), self.now).events
            self.trace += [f"{e.at.timestamp() - START:8.1f} {e.type}: {e.message}" for e in reversed(timeline)]
            self.trace += [str(slot.attribute_values) for slot in Slot.scan(Slot.slot == f"D#{deployment_id}")]
            raise Violation(
                f"{deployment_id}: runs {runs}, wanted {wanted}; status {status} ({code}), expected {expected}"
            )


def simulate(seed: int, database: Recorder, folder: Path) -> Simulation:
    """Raises Violation with the trace that leads to it."""
    simulation = Simulation(seed, database, folder)
    try:
        simulation.run()
    except BaseException as error:
        trace = "\n".join(simulation.trace)
        raise Violation(f"seed {seed}: {error!r}\n{trace}") from error
    finally:
        for host in simulation.hosts:
            with contextlib.suppress(Exception):  # a host that failed in the middle may have nothing left to close
                host.kill()
    return simulation
