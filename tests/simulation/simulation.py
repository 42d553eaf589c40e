"""One seed: a fleet, operators and faults at random, and then calm.

Services, routes and agents are the real ones, in one process. Time, network, database, engine and chance are not. Every
seed has at most one catastrophe beside its faults, since each changes what may be expected after it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from chalicelib.auth import tokens
from chalicelib.fleet.workers import ONLINE_WINDOW
from chalicelib.scheduling import view_audit
from chalicelib.scheduling.view_audit import SMALL_FLEET
from chalicelib.store import slots
from chalicelib.store.items import TransactionConflict, find
from chalicelib.store.tables import Brake, Deployment, Operation, WorkerHeartbeat
from chalicelib.workers import admin, liveness
from chalicelib.workers.liveness import BRAKE_MIN_WORKERS, BRAKE_SECONDS, LOST_AFTER_SECONDS
from muster.api import resources as r
from muster.api.conditions import ConditionType
from muster.api.endpoints import Access
from muster.api.errors import ApiError
from muster_agent.engines.base import Instance
from tests.simulation import invariants
from tests.simulation.basic_client import BasicClient
from tests.simulation.cloud import Cloud, Network
from tests.simulation.database import UnreliableDynamoDB
from tests.simulation.faults import STORMY, Faults
from tests.simulation.hosts import GPUS, Host, Running
from tests.simulation.intruder import Intruder
from tests.simulation.operators import OPERATOR, Operators
from tests.simulation.outages import DISK_OUTAGES, DOWN, ENGINE_OUTAGES, Outage

ADMIN = tokens.Principal("key admin", Access.ADMIN, "admin")
JOIN = "a registration token for many workers"
START = 1_800_000_000.0
STEPS = 55
DAY = 86400.0
ENGINE_UNAVAILABLE, STATE_UNAVAILABLE = ConditionType.ENGINE_UNAVAILABLE.value, ConditionType.STATE_UNAVAILABLE.value
CALM_AT_LEAST, CALM_AT_MOST, OUTAGES_SHOW = 4, 120, 6
"""Rounds of 20 seconds: the fewest are longer than a silent worker counts as online, the most than any wait of a crash
loop. Outages may show so long."""


class Violation(AssertionError):
    """Something was lost, or ran twice, or waits for ever."""


@dataclass(frozen=True)
class Focus:
    """The plot and the storm of every seed, where they are not to be chance."""

    plot: str | None = None
    storm: str | None = None

    def __str__(self) -> str:
        return "".join(f' {name.upper()}="{value}"' for name, value in vars(self).items() if value)


NO_FOCUS = Focus()


class Simulation:
    """`unconfirmed` are the deployments that were moved away from a worker that could not be asked."""

    def __init__(self, seed: int, database: UnreliableDynamoDB, folder: Path, focus: Focus) -> None:
        self.random, self.database, self.folder = Random(seed), database, folder
        self.faults = Faults(self.random, START, focus.storm)
        drawn = self.random.choice([*PLOTS, None, None, None])
        self.plot = focus.plot or drawn
        database.empty()
        self.cloud = Cloud(database, self.faults)
        self.hosts: list[Host] = []
        self.network = Network(self.cloud, self._pass)
        self.operators = Operators(self.cloud, self._worker_ids, self._containers)
        self.unconfirmed: set[str] = set()
        self.catastrophe = self.gpus_may_overlap = self.orphans_possible = False
        self.restored = self.cloned = False
        self.forgotten: set[str] = set()
        self.basic: BasicClient | None = None
        self.owner_rejoins = False
        # In every other seed a request never reads the whole fleet, as in a large one.
        view_audit.SMALL_FLEET = -1 if seed % 2 else SMALL_FLEET
        self.crowds = self.random.random() < 0.04
        self.to_rest: set[str] = set()
        self.said_lost: set[tuple[str, str]] = set()
        self.heard_before: dict[str, float] = {}
        self.ran_before: set[str] = set()
        self.placed_before: dict[str, tuple[str, str]] = {}
        self.lost_before: dict[str, set[int]] = {}
        self.arrived_late = 0
        tokens.seed_registration_token(JOIN, START)
        self.hosts.append(self._host("host-0", None))
        are_neighbours = self.random.random() < 0.3
        self.faults.happened["two agents on one host"] += are_neighbours
        self.hosts.append(self._host("host-1", self.hosts[0] if are_neighbours else None))
        self._more_hosts()
        if self.random.random() < 0.4:
            self.basic = BasicClient("basic", self.network, self.faults, JOIN)
        self.cloud.overtaker = self._overtake

    @property
    def now(self) -> float:
        return self.faults.now

    def run(self) -> None:
        """Raises Violation."""
        when = self.random.randrange(STEPS // 3, STEPS) if self.plot else None
        for step in range(STEPS):
            self._step()
            if self.plot and step == when:
                self.catastrophe = True
                PLOTS[self.plot](self)
            self._check()
        self._calm_down()

    def _more_hosts(self) -> None:
        """Now and then a host that joined with a token of its own, and a fleet that is large enough for the brake."""
        if self.random.random() < 0.25:
            is_ephemeral = self.random.random() < 0.5
            made = tokens.create_token(r.NewRegistrationToken(ephemeral=is_ephemeral), ADMIN, START)
            host = self._host("guest", None, str(made.token))
            host.is_ephemeral = is_ephemeral
            self.hosts.append(host)
            self.faults.happened["ephemeral worker" if is_ephemeral else "joined with a token of one use"] += 1
        if self.random.random() < 0.08:
            self.faults.happened["a larger fleet"] += 1
            self.hosts += [self._host(f"host-{number}", None) for number in range(2, 5)]

    # What happens

    def _step(self) -> None:
        host = self.random.choice(self.hosts)
        happenings: list[tuple[float, Callable[[], object]]] = [
            (26, lambda: self._beat(host)),
            (40, lambda: self._work(host)),
            (20, self.operators.act),
            (1.5, lambda: self._crash(host, wipe=False)),
            (0.7, lambda: self._crash(host, wipe=not self.restored)),
            (3, lambda: self._model_dies(host)),
            (self._often("clock stepped"), lambda: self._step_clock_between_looks(host)),
            (self._often("host rebooted"), lambda: self._reboot(host)),
            (1.7, lambda: self._gpu_fails(host)),
            (1.7, lambda: self._gpus_are_back(host)),
            (1.5 * self._often("engine outage"), lambda: self._engine_fails(host)),
            (1.5 * self._often("disk outage"), lambda: self._disk_fails(host)),
            (1.5, lambda: self._mend(host)),
            (0.7, lambda: self._an_outage_shows(host)),
            (3, self._sweep),
            (3, self.network.late_ones_arrive),
            (1.5, lambda: self._pass(self.random.choice([30, 100, 300]))),
        ]
        if self.basic:
            happenings += [(14, self.basic.beat), (16, self.basic.work), (1, self._basic_restarts)]
        if len(self.hosts) >= BRAKE_MIN_WORKERS:
            happenings.append((1, self._outage))
        if self.crowds:
            happenings.append((1, self.operators.crowd))
        weights, actions = zip(*happenings, strict=True)
        self._pass(self.random.choice([0.0, 0.1, 1, 2, 5, 15]))
        self.random.choices(actions, weights)[0]()

    def _pass(self, seconds: float) -> None:
        self.faults.now += seconds
        if self.faults.strikes("clock stepped", 0.01):  # in the middle of whatever it does
            self._step_clock(self.random.choice(self.hosts))
        for host in self.hosts:
            host.set_clock(self.now)

    def _beat(self, host: Host) -> None:
        if not host.up:
            host.start_agent()
        elif host.parked and self.owner_rejoins and self.random.random() < 0.4:
            self._rejoin(host)
        elif host.parked:
            host.restart_parked()
        else:
            host.call_in()

    def _work(self, host: Host) -> None:
        for _ in range(3):
            if host.up:
                host.work()

    def _crash(self, host: Host, wipe: bool) -> None:
        if host.up and not host.parked:
            self.faults.happened["agent's disk lost" if wipe else "agent killed"] += 1
            self.faults.note(f"{host.machine} is killed{', its disk lost' if wipe else ''}")
            host.end_agent(wipe)

    def _basic_restarts(self) -> None:
        if self.basic and self.basic.idle:
            self.basic.restart()

    def _model_dies(self, host: Host) -> None:
        alive = host.running()
        if alive:
            self.faults.happened["model died"] += 1
            dying = self.random.choice(alive)
            self.faults.note(f"{host.machine}: {dying.name} dies")
            host.engine.die(dying.id, 1, "RuntimeError: it died")

    def _often(self, fault: str) -> float:
        """The weight of a fault that happens by itself."""
        return STORMY if self.faults.storm == fault else 1

    def _step_clock_between_looks(self, host: Host) -> None:
        """While deployments come up, or wait after a crash: what the wall clock measures lasts hours, or is over."""
        self.faults.happened["clock stepped"] += 1
        for _ in range(2):
            self.operators.act()
            self._beat(host)
            host.look_after_deployments()
        if self.random.random() < 0.3:
            self._model_dies(host)
            host.engine_was_looked_at_long_ago()
        host.look_after_deployments()
        self._step_clock(host)
        host.look_after_deployments()

    def _step_clock(self, host: Host) -> None:
        by = self.random.uniform(-DAY, DAY)
        self.faults.note(f"the clock of {host.machine} goes {by:+.0f} s")
        for each in self._on_the_machine_of(host):
            each.skew += by
            each.set_clock(self.now)

    def _reboot(self, host: Host) -> None:
        """The machine goes down and comes up; its agents are started with their next beat."""
        self.faults.happened["host rebooted"] += 1
        self.faults.note(f"{host.machine} reboots")
        for each in self._on_the_machine_of(host):
            if each.up:
                each.end_agent()
            each.came_up(self.now)
            each.set_clock(self.now)
        for instance in list(host.engine.all.values()):
            if instance.state == "running" and instance.id not in host.strangers:
                host.engine.die(instance.id, 137)

    def _on_the_machine_of(self, host: Host) -> list[Host]:
        return [each for each in self.hosts if each.engine.all is host.engine.all]

    def _gpu_fails(self, host: Host) -> None:
        """A GPU is lost, or gone; the model in it may hang there, or die of it."""
        index, gone = self.random.randrange(GPUS), self.random.random() < 0.4
        self.faults.happened["GPU gone" if gone else "GPU lost"] += 1
        self.faults.note(f"{host.machine}: GPU {index} of {host.name} is {'gone' if gone else 'lost'}")
        host.lose_gpu(index, gone)
        for each in host.running():
            if each.worker_id == host.last_worker_id and index in host.gpus_of(each) and self.random.random() < 0.5:
                host.engine.die(each.id, 1, "CUDA error: unspecified launch failure")

    def _gpus_are_back(self, host: Host) -> None:
        if host.lost_gpus:
            self.faults.happened["GPUs back"] += 1
            self.faults.note(f"{host.machine}: the GPUs of {host.name} are back")
            host.repair_gpus()

    def _engine_fails(self, host: Host) -> None:
        kind = self.random.choice(ENGINE_OUTAGES)
        self.faults.happened[f"engine {kind}"] += 1
        self.faults.note(f"{host.machine}: its engine {'is ' if kind == DOWN else ''}{kind}")
        host.engine.outage.begin(kind, self.random.choice([10, 60, 300, 1500]))

    def _disk_fails(self, host: Host) -> None:
        kind = self.random.choice(DISK_OUTAGES)
        host.disk.begin(kind, self.random.choice([10, 60, 300, 1500]))
        self.faults.happened[f"disk {kind}"] += 1
        self.faults.note(f"{host.machine}: the disk of {host.name} is {kind}")

    def _mend(self, host: Host) -> None:
        if host.engine.outage.kind or host.disk.kind:
            self.faults.happened["outage mended"] += 1
            self.faults.note(f"{host.machine}: engine and disk of {host.name} work again")
            host.engine.outage.end()
            host.disk.end()

    def _an_outage_shows(self, host: Host) -> None:
        """Somebody reads the worker while one lasts, and a minute after it has ended. Meanwhile all else goes well."""
        was_bad, self.faults.bad = self.faults.bad, False
        host.disk.end()
        host.engine.outage.end()
        if self.random.random() < 0.5:
            self._engine_fails(host)
        else:
            self._disk_fails(host)
        outage: Outage = host.engine.outage if host.engine.outage.kind else host.disk
        type_ = ENGINE_UNAVAILABLE if outage is host.engine.outage else STATE_UNAVAILABLE
        outage.begin(str(outage.kind), 1e6)
        host.disk.visible = True
        if self._are_well_heard(host, 4):
            self.faults.happened["an outage showed"] += 1
            if type_ not in self._shown(host):
                raise Violation(f"{host.machine}: nothing shows {type_}, and that lasts")
        if self.random.random() < 0.5:
            outage.begin(str(outage.kind), self.random.choice([1, 30, 300]))
        else:
            outage.end()
            if self._are_well_heard(host, 6) and type_ in self._shown(host):
                raise Violation(f"{host.machine}: {type_} shows, and ended more than a minute ago")
            self.faults.happened["an outage showed, and was over"] += 1
        self.faults.bad = was_bad

    def _are_well_heard(self, host: Host, beats: int) -> bool:
        """Whether all of so many heartbeats, 20 seconds apart, were answered."""
        for _ in range(beats):
            self._pass(20)
            runtime = host.agent.runtime if host.up else None
            if runtime is None or host.parked:
                return False
            host.attempt(runtime.poller.step)
            host.call_in()
            self._check()
            heartbeat = find(WorkerHeartbeat, str(host.worker_id))
            if heartbeat is None or heartbeat.gone or host.agent.identity is None or heartbeat.last_seen != self.now:
                return False
        return True

    def _shown(self, host: Host) -> set[str]:
        """The types of conditions that somebody sees who reads the worker."""
        try:
            return {each.type for each in admin.get(str(host.worker_id), self.now).conditions}
        except ApiError:  # an operator has removed it
            return set()

    def _sweep(self) -> None:
        self.faults.happened["sweep"] += 1
        with contextlib.suppress(ApiError, TransactionConflict):
            self.cloud.run("sweep", lambda: liveness.expire(self.now, segments=1))

    def _outage(self) -> None:
        """Nobody is heard of for a while: the fault is likelier the control plane's, and nothing is concluded of it."""
        up = [item["worker_id"]["S"] for item in self.database.items(WorkerHeartbeat) if not {"dn", "g"} & item.keys()]
        self._pass(ONLINE_WINDOW + 30)
        held_before = self._brakes()
        self._sweep()
        if held_before or self.now + BRAKE_SECONDS not in self._brakes():
            return  # not this sweep's: it holds for five minutes, and then lets go
        self.faults.happened["sweep braked"] += 1
        down = {item["worker_id"]["S"] for item in self.database.items(WorkerHeartbeat) if "dn" in item}
        if down & set(up):
            raise Violation(f"{sorted(down & set(up))} are down, though most of the fleet fell silent at once")

    def _brakes(self) -> list[float]:
        """Until when they hold, those included that have let go."""
        return [float(brake.until) for brake in Brake.scan(Brake.part == "brake")]

    def _overtake(self) -> None:
        """Other functions run between two database calls of the one that is under way."""
        self._note_the_unconfirmed()
        for _ in range(self.random.choice([1, 1, 2, 3])):
            self._overtake_once()

    def _overtake_once(self) -> None:
        host = self.random.choice(self.hosts)
        choices = [self.operators.act, self.operators.act, self._sweep, self.network.late_ones_arrive]
        if host.up and not host.parked and host.machine not in self.network.busy:
            choices += [host.call_in, host.call_in, host.report]
        self.random.choice(choices)()

    # Catastrophes, one a seed at most

    def _clone(self) -> None:
        """The disk of a host is copied to another machine, which starts."""
        host = self.hosts[0]
        if not host.up or host.parked or host.worker_id is None:
            return
        self.faults.happened["host cloned"] += 1
        self.faults.note(f"{host.machine} is cloned")
        self.cloned = self.orphans_possible = self.gpus_may_overlap = True
        clone = host.clone(self.folder / "clone", self.network, "clone")
        clone.set_clock(self.now)
        self.hosts.append(clone)
        clone.start_agent()

    def _take_over(self) -> None:
        """A host falls silent, and another machine takes its name; later it comes back."""
        host = self.hosts[0]
        if host.up:
            host.end_agent()
        self._pass(2 * ONLINE_WINDOW)
        body = r.NewRegistrationToken(takeover=True)
        made = tokens.create_token(body, ADMIN, self.now)
        self.faults.happened["name taken over"] += 1
        self.faults.note(f"{host.machine}'s name is taken over")
        successor = Host(self.folder / "successor", host.name, self.network, self.faults, str(made.token), "successor")
        successor.set_clock(self.now)
        self.hosts.append(successor)
        self.gpus_may_overlap = True
        lost = {str(each.deployment_id) for each in Deployment.scan(Deployment.worker_id == host.last_worker_id)}
        self.to_rest, self.operators.asked.touched = lost, set()
        successor.start_agent()

    def _fall_silent(self) -> None:
        """A host is not heard of for a day. What runs there counts as lost, and people do with it what they like."""
        host = self.hosts[0]
        if host.up:
            host.end_agent()
        self.faults.happened["silent for a day"] += 1
        self.faults.note(f"{host.machine} is silent for a day")
        self.gpus_may_overlap = True
        self._pass(LOST_AFTER_SECONDS + ONLINE_WINDOW)
        for other in self.hosts[1:]:
            self._beat(other)
        if self.basic:
            self.basic.beat()
        self._check()
        for act in [self._sweep] * 3 + [self.operators.act] * self.random.randrange(2, 8):
            act()

    def _remove(self) -> None:
        """An operator removes a worker by force. What runs there is left running, also when its host joins anew."""
        worker_id = self.hosts[0].last_worker_id
        if worker_id is None:
            return
        self.faults.happened["worker removed"] += 1
        self.faults.note(f"{self.hosts[0].machine} is removed")
        self.gpus_may_overlap = self.owner_rejoins = True
        with contextlib.suppress(ApiError, TransactionConflict):
            self.cloud.run("remove", lambda: admin.remove(worker_id, True, OPERATOR.label, self.now))

    def _restore(self) -> None:
        """The database becomes what it was some steps ago. No model may stop of it before somebody says so."""
        snapshot = self.database.snapshot()
        self.restored = True  # no disk is lost from here on: of both together nothing is promised
        for _ in range(self.random.randrange(5, 25)):
            self._step()
            self._check()
        self.faults.happened["database restored"] += 1
        self.faults.note("an older database is restored")
        self.forgotten = {each.operation_id for each in Operation.scan(Operation.sent_at.exists())}
        self.database.restore(snapshot)
        self.lost_before = {}  # what the database says of GPUs is old, until the agents say it again
        self.orphans_possible = self.gpus_may_overlap = True
        self.faults.bad = False
        for host in self.hosts:
            self._mend(host)
        self.network.late_ones_arrive()
        alive = {(host.machine, each.id): each for host in self.hosts for each in self._undisputed(host)}
        for _ in range(6):
            self._calm_round()
        for (machine, id_), instance in alive.items():
            host = next(each for each in self.hosts if each.machine == machine)
            if host.engine.all.get(id_) != instance:
                raise Violation(f"{machine}: {instance.name} ended, because an older database was restored")
        for deployment in list(Deployment.scan(Deployment.kind == "deployment")):
            self.operators.intend(str(deployment.deployment_id), self.random.choice(["stop", "restart"]))

    def _intrude(self) -> None:
        """Other hosts ask for the names of workers that are online. Nothing that is promised becomes less."""
        self.catastrophe = False
        victims: list[Host | BasicClient] = [*self.hosts, *([self.basic] if self.basic else [])]
        intruders = [(Intruder(self.database, self.network, self.faults, JOIN), victim) for victim in victims]
        self.faults.note("intruders come")
        for _ in range(self.random.randrange(4, 10)):
            for host in self.hosts:
                self._beat(host)
            if self.basic:
                self.basic.beat()
            for intruder, victim in intruders:
                worker_id = victim.last_worker_id if isinstance(victim, Host) else victim.worker_id
                hostname = victim.machine if isinstance(victim, Host) else victim.name
                for _ in range(2):
                    intruder.act(worker_id, victim.name, hostname)
                for problem in intruder.found:
                    raise Violation(problem)
            self._step()
            self._check()
        self.faults.note("intruders go")

    def _undisputed(self, host: Host) -> Iterator[Instance]:
        """What runs there and is not about to be ended or replaced by an intent that its agent has, or is to get."""
        if not host.up:
            host.start_agent()
        deployments_table = {each.deployment_id: each.command for each in host.journal.deployments_table.all()}
        for each in host.running():
            command = deployments_table.get(str(each.deployment_id))
            slot = slots.get(str(each.worker_id), str(each.deployment_id))
            newer = slot is not None and slot.generation > (each.generation or 0)
            asked_to_end = each.deployment_id in self.operators.asked.ended
            if command is not None and command.generation == each.generation and not newer and not asked_to_end:
                yield each

    # Calm

    def _calm_down(self) -> None:
        self.faults.note("from here on nothing goes wrong")
        self.faults.bad = False
        for host in self.hosts:
            self._gpus_are_back(host)
            self._mend(host)
        self.network.late_ones_arrive()
        problems: list[str] = []
        for round_ in range(CALM_AT_MOST):
            self._calm_round()
            if round_ == OUTAGES_SHOW:
                self._no_outage_shows()
            if round_ >= CALM_AT_LEAST and round_ % 2 == 0:
                problems = list(invariants.in_the_end(self))
                if not problems:
                    return
        raise Violation("; ".join(problems))

    def _no_outage_shows(self) -> None:
        for host in self.active():
            shown = self._shown(host) & {ENGINE_UNAVAILABLE, STATE_UNAVAILABLE}
            if shown:
                raise Violation(f"{host.machine}: {sorted(shown)} shows, and ended more than a minute ago")

    def _calm_round(self) -> None:
        self._pass(20)
        for host in self.hosts:
            if not host.up:
                host.start_agent()
            self._rejoin_if_nobody_is_left(host)
            if host.parked and self.now % 100 < 20:
                host.restart_parked()
            elif not host.parked:
                host.call_in()
                host.work_through()
        if self.basic:
            self.basic.beat()
            for _ in range(4):
                self.basic.work()
        liveness.expire(self.now, segments=1)
        self._check()

    def _rejoin_if_nobody_is_left(self, host: Host) -> None:
        """An old registration that arrives late looks like a second machine: the agent rests until told otherwise."""
        namesakes = [each for each in self.hosts if each.name == host.name]
        if host.parked and host is namesakes[-1] and all(each.parked or not each.up for each in namesakes):
            if host.is_ephemeral:  # it was away for so long that it was removed
                self.gpus_may_overlap = True
            elif not self.catastrophe and not host.lost_registration:
                raise Violation(f"{host.machine} parked, and nobody else is its worker")
            self._rejoin(host)

    def _rejoin(self, host: Host) -> None:
        self.faults.happened["rejoined by its owner"] += 1
        self.faults.note(f"{host.machine} rejoins")
        self._mend(host)  # its owner is told that it cannot rejoin before that
        host.state.unpark()
        host.attempt(lambda: host.database.set_meta(token=None, name=None))
        host.end_agent()
        host.start_agent()

    def _check(self) -> None:
        self._note_the_unconfirmed()
        for host in self.hosts:
            host.look()
        for problem in invariants.at_every_instant(self):
            raise Violation(problem)
        speaking = [host for host in self.hosts if host.speaks_for and host.agent.identity]
        self.ran_before = {str(each.deployment_id) for host in speaking for each in host.running()}

    def _note_the_unconfirmed(self) -> None:
        """Deployments that left, or may leave, a worker that cannot be asked just now."""
        silent = {
            item["worker_id"]["S"]
            for item in self.database.items(WorkerHeartbeat)
            if "g" in item or self.now - float(item["ls"]["N"]) > ONLINE_WINDOW - 20
        }
        if silent:
            for item in self.database.items(Deployment):
                places = {item[name]["S"] for name in ("leaving", "worker_id") if name in item}
                if places & silent:
                    self.unconfirmed.add(item["deployment_id"]["S"])

    # Looking

    def active(self) -> list[Host]:
        """Hosts whose agent is the worker that it says it is."""
        return [host for host in self.hosts if host.up and host.agent.identity is not None and not host.parked]

    def where_it_runs(self, deployment_id: str) -> list[Running]:
        found = [
            host.what_runs(each)
            for host in self.active()
            for each in host.running()
            if each.deployment_id == deployment_id and each.worker_id == host.worker_id
        ]
        if self.basic and deployment_id in self.basic.containers:
            told = self.basic.containers[deployment_id]
            gpus = tuple(told["gpus"])
            found.append(Running(str(self.basic.worker_id), told["generation"], told["config"], gpus))
        # What a restored database, or the journal of a clone, knows nothing of is an orphan there.
        return [each for each in found if not self.orphans_possible or slots.get(each.worker_id, deployment_id)]

    def _worker_ids(self) -> list[str]:
        ids = {host.last_worker_id for host in self.hosts} | {self.basic.worker_id if self.basic else None}
        return sorted(str(each) for each in ids if each)

    def _containers(self) -> list[Instance]:
        return [each for host in self.hosts for each in host.running()]

    def _host(self, name: str, neighbour: Host | None, token: str = JOIN) -> Host:
        host = Host(self.folder / name, name, self.network, self.faults, token, neighbour=neighbour)
        host.set_clock(START)
        host.start_agent()
        return host


PLOTS: dict[str, Callable[[Simulation], None]] = {
    "clone": Simulation._clone,
    "intruder": Simulation._intrude,
    "takeover": Simulation._take_over,
    "removal": Simulation._remove,
    "restore": Simulation._restore,
    "silence": Simulation._fall_silent,
}


def simulate(seed: int, database: UnreliableDynamoDB, folder: Path, focus: Focus = NO_FOCUS) -> Faults:
    """What happened. Raises Violation with the diary that leads to it."""
    simulation = Simulation(seed, database, folder, focus)
    try:
        simulation.run()
    except Exception as error:
        said = str(error) if isinstance(error, Violation) else f"{type(error).__name__}: {error}"
        diary = simulation.faults.diary(said)
        raise Violation(f"seed {seed}: {diary}\nreplay: make simulate FIRST={seed} SEEDS=1{focus}") from error
    finally:
        for host in simulation.hosts:
            host.end_agent()
    return simulation.faults
