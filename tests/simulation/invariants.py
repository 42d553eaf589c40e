"""What must hold at every instant, and what must hold once faults have ended and everybody had time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from chalicelib.fleet import capacity, scan
from chalicelib.fleet.workers import ONLINE_WINDOW
from chalicelib.operations import queue
from chalicelib.scheduling import choice, gpu_claims, placement
from chalicelib.store import slots
from chalicelib.store.tables import Deployment, Operation, WorkerHeartbeat, WorkerRecord
from infra.local.dynamodb.attributes import Item
from muster.api.lifecycle import LIVE, OPEN, OperationStatus
from muster.api.messages import GpuDevice, GpuInfo
from muster_agent.runner.reconciler import MAX_ATTEMPTS
from tests.simulation.hosts import Host, Running
from tests.simulation.outages import REFUSED

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

S = OperationStatus
SILENCING = ("agent's disk lost", "answer late", "write refused, disk full", "write refused, disk read-only")
"""With which an operation's result may be lost, although its worker is there."""
NOT_JOURNALED = frozenset({"DISK_FULL", "STATE_UNAVAILABLE"})
GIVEN_UP = frozenset({"POISON_COMMAND", "WORKER_LOST", "WORKER_REMOVED", *NOT_JOURNALED})
"""Errors in which a deployment that should run rests until an operator starts it."""


def at_every_instant(sim: Simulation) -> Iterator[str]:
    """The violations there are."""
    yield from _no_false_alarm(sim)
    yield from _nothing_is_placed_on_a_lost_gpu(sim)
    yield from _one_holder_for_each_gpu_of_the_basic_client(sim)
    everywhere: defaultdict[str, set[str]] = defaultdict(set)
    for host in sim.hosts:
        ours = host.running()
        for pair, count in Counter((each.worker_id, each.deployment_id) for each in ours).items():
            if count > 1:
                yield f"{host.machine} runs {count} containers of deployment {pair[1]}"
        for id_, stranger in host.strangers.items():
            if host.engine.all.get(id_) != stranger:
                yield f"{host.machine}: {id_} is none of its own, and was touched"
        yield from _one_holder_for_each_gpu(host)
        yield from _nothing_is_called_crashed(sim, host)
        for call, count in Counter(host.engine.calls).items():
            journaled = count - host.engine.unjournaled[call]
            if journaled > 1 and call.startswith(("pull image:", "delete_image")):
                yield f"{host.machine}: an operation ran {count} times: {call}"
        if host.engine.put_down:
            yield f"{host.machine} ended {host.engine.put_down}, which was healthy"
        if host.engine.touched_others:
            yield f"{host.machine} stopped {host.engine.touched_others}, which another worker had started"
        if host.engine.calls.count("prune") - host.engine.unjournaled["prune"] > sim.operators.asked.prunes:
            yield f"{host.machine} pruned more often than it was asked to"
        for each in ours:
            if each.worker_id == host.speaks_for:
                everywhere[str(each.deployment_id)].add(str(each.worker_id))
    for deployment_id, places in everywhere.items():
        if len(places) > 1 and deployment_id not in sim.unconfirmed and not sim.orphans_possible:
            yield f"{deployment_id} runs on {len(places)} workers, and each of them could be asked"


def _nothing_is_called_crashed(sim: Simulation, host: Host) -> Iterator[str]:
    """What did not end by itself, and was not refused a start, has no error: an outage is no fault of a model."""
    runtime = host.agent.runtime if host.up and not sim.catastrophe else None
    for deployment_id, runner in runtime.manager.runners.items() if runtime else []:
        report = runner.record.report
        if report is None or report.error_code in (None, *NOT_JOURNALED) or REFUSED in (report.message or ""):
            continue
        if report.error_code == "POISON_COMMAND" and host.ends >= MAX_ATTEMPTS:
            continue
        if deployment_id not in host.engine.died | sim.operators.asked.ended:
            said = f"{report.error_code} ({report.message})"
            yield f"{host.machine}: {deployment_id} is {said}, and did not end by itself"


def _one_holder_for_each_gpu(host: Host) -> Iterator[str]:
    """Whichever worker of that machine started them, and whatever was lost, restored, or removed."""
    held = Counter(device for each in host.running() for device in host.devices_of(each))
    doubly = [device for device, count in held.items() if count > 1]
    if doubly:
        yield f"{host.machine}: two deployments on GPU {doubly}"


def _one_holder_for_each_gpu_of_the_basic_client(sim: Simulation) -> Iterator[str]:
    """It does what it is told, and looks at nothing: so it is told nothing wrong."""
    if sim.basic is None or sim.restored:
        return
    held = Counter(gpu for told in sim.basic.containers.values() for gpu in told["gpus"])
    doubly = [gpu for gpu, count in held.items() if count > 1]
    if doubly:
        yield f"the basic client runs two deployments on GPU {doubly}"


def _nothing_is_placed_on_a_lost_gpu(sim: Simulation) -> Iterator[str]:
    """One that was lost when a deployment was placed there, as far as the control plane had been told."""
    lost = {
        item["worker_id"]["S"]: {each.index for each in _devices(item) if each.lost}
        for item in sim.database.items(WorkerRecord)
        if item["part"]["S"] == "cold"
    }
    placed = {
        item["deployment_id"]["S"]: (item["worker_id"]["S"], item["gpu_indexes"]["S"])
        for item in sim.database.items(Deployment)
        if "worker_id" in item
    }
    arrived_late = sim.faults.happened["late arrival"]
    for deployment_id, (worker_id, indexes) in placed.items():
        if arrived_late != sim.arrived_late:
            break  # an older registration may have said, for a moment, that the GPU is there
        both = lost.get(worker_id, set()) & sim.lost_before.get(worker_id, set())
        wrong = both & set(msgspec.json.decode(indexes, type=list[int]))
        if wrong and sim.placed_before.get(deployment_id) != (worker_id, indexes):
            yield f"{deployment_id} is placed on GPU {sorted(wrong)} of {worker_id}, which is lost"
    sim.lost_before, sim.placed_before, sim.arrived_late = lost, placed, arrived_late


def _devices(item: Item) -> list[GpuDevice]:
    return msgspec.json.decode(item["gpu_info"]["S"], type=GpuInfo).devices


def _no_false_alarm(sim: Simulation) -> Iterator[str]:
    """That one was lost, or has stopped, is not said of what runs."""
    stored = {item["deployment_id"]["S"]: item for item in sim.database.items(Deployment) if "status" in item}
    said = {(id_, item["error_code"]["S"]) for id_, item in stored.items() if "error_code" in item}
    stopped = [id_ for id_, item in stored.items() if item["status"]["S"] == "stopped"]
    if said - sim.said_lost or stopped:
        yield from _false_alarms(sim, stored, said - sim.said_lost, stopped)
    sim.said_lost = said
    sim.heard_before = {item["worker_id"]["S"]: float(item["ls"]["N"]) for item in sim.database.items(WorkerHeartbeat)}


def _false_alarms(
    sim: Simulation, stored: dict[str, Item], news: set[tuple[str, str]], stopped: list[str]
) -> Iterator[str]:
    def home(deployment_id: str) -> str:
        return str(stored[deployment_id].get("worker_id", {}).get("S", ""))

    places = {(str(each.deployment_id), str(each.worker_id)) for host in sim.active() for each in host.running()}
    runs = {deployment_id for deployment_id, _ in places}
    for deployment_id, code in sorted(news):
        if code == "CONTAINER_LOST" and deployment_id in runs & sim.ran_before and not sim.catastrophe:
            yield f"{deployment_id} is CONTAINER_LOST, and ran all the time"
        was_silent = sim.now - sim.heard_before.get(home(deployment_id), 0.0) > ONLINE_WINDOW
        was_silent |= home(deployment_id) in sim.operators.asked.lost  # it may have spoken since then
        if code == "WORKER_LOST" and not was_silent and sim.plot != "takeover":
            yield f"{deployment_id} is WORKER_LOST, and its worker had been heard of"
    for deployment_id in stopped if not sim.catastrophe else []:
        if (deployment_id, home(deployment_id)) in places:
            yield f"{deployment_id} is said to be stopped, and runs"


def in_the_end(sim: Simulation) -> Iterator[str]:
    """The containers are what is wanted, the statuses are what the containers are, and nothing waits."""
    known = {str(each.deployment_id): each for each in Deployment.scan(Deployment.kind == "deployment")}
    for deployment in known.values():
        problem = _problem(sim, deployment)
        if problem:
            yield f"{deployment.deployment_id}: {problem}"
    for host in sim.active():
        for each in host.running():
            if each.worker_id == host.worker_id and each.deployment_id not in known and not sim.orphans_possible:
                yield f"{host.machine} runs {each.name}, which was deleted"
    if sim.basic:
        for deployment_id in sim.basic.containers.keys() - known.keys():
            if not sim.orphans_possible:
                yield f"the basic client runs {deployment_id}, which was deleted"
    yield from _operations(sim)
    yield from _reservations(sim, known)
    yield from _names(sim)
    yield from _free_capacity()


def _free_capacity() -> Iterator[str]:
    """The index of free capacity has of each worker what follows from its two items."""
    for worker in scan.candidates(consistent=True).values():
        if not capacity.is_current(worker):
            yield f"the index of free capacity is wrong about {worker.record.name}: {worker.record.room}"


def _problem(sim: Simulation, deployment: Deployment) -> str | None:
    if _waits_for_a_gpu(sim, deployment) and (
        sim.orphans_possible or sim.gpus_may_overlap or deployment.error_code == "CONTAINER_LOST"
    ):
        return None  # something else runs in it, which the control plane does not know, or placed there meanwhile
    runs = sim.where_it_runs(str(deployment.deployment_id))
    status, code = deployment.status, deployment.error_code
    generation = int(deployment.generation)
    was_ended = deployment.deployment_id in sim.operators.asked.ended
    described = f"desired {deployment.desired}, {status} ({code}) in generation {generation}, runs {runs}"
    if deployment.desired == "stopped":
        return described if runs or status in LIVE else None
    if status == "running":
        wanted = _wanted(deployment)
        if not _is_where_it_may_be(sim, deployment, wanted):
            return f"{described}, which is not what {gpu_claims.spec_of(deployment)} asks for"
        if sim.gpus_may_overlap:  # then others may have been given what it runs on
            runs, wanted = [each._replace(gpus=()) for each in runs], wanted._replace(gpus=())
        return None if [wanted] == runs else f"{described} rather than {wanted}"
    if runs:  # a clone may run what its original said had failed for good, or was ended by hand
        return None if sim.cloned and (status == "error" or was_ended) else described
    if status == "error":
        given_up = code in GIVEN_UP or gpu_claims.spec_of(deployment).restart == "never"
        return None if given_up or (was_ended and code == "CONTAINER_LOST") else described
    if status == "stopped":
        return None if was_ended else described
    return None if _has_no_place(sim, deployment) else described


def _wanted(deployment: Deployment) -> Running:
    """What runs where everything is as it was asked for last."""
    worker = scan.workers().get(str(deployment.worker_id))
    claims_ = worker.claims if worker else {}
    gpus = tuple(sorted(int(gpu) for gpu, holder in claims_.items() if holder == deployment.deployment_id))
    spec = gpu_claims.spec_of(deployment)
    return Running(str(deployment.worker_id), int(deployment.generation), spec.config, gpus)


def _is_where_it_may_be(sim: Simulation, deployment: Deployment, wanted: Running) -> bool:
    """Whether its worker has the labels, and its GPUs are those, that it was deployed for."""
    spec = gpu_claims.spec_of(deployment)
    if not sim.gpus_may_overlap and isinstance(spec.gpus, list) and wanted.gpus != tuple(sorted(spec.gpus)):
        return False
    worker = scan.workers().get(wanted.worker_id)
    has_own_labels = wanted.worker_id not in sim.operators.asked.relabeled and not sim.catastrophe
    return worker is None or not has_own_labels or spec.selector.items() <= worker.labels.items()


def _waits_for_a_gpu(sim: Simulation, deployment: Deployment) -> bool:
    crews = [host.agent.runtime for host in sim.active() if host.worker_id == deployment.worker_id]
    runners = [runtime.manager.runners.get(str(deployment.deployment_id)) for runtime in crews if runtime]
    said = [each.record.report.message or "" for each in runners if each and each.record.report]
    return any(each.startswith("Waits for its GPU") for each in said)


def _has_no_place(sim: Simulation, deployment: Deployment) -> bool:
    """Whether it waits rightly: no worker has what it needs, or the one that it is to run on is gone or silent."""
    if deployment.worker_id:
        return deployment.worker_id not in {host.worker_id for host in sim.active()} - {None}
    online = [worker for worker in scan.workers().values() if worker.online(sim.now)]
    free = [choice.candidate(worker, worker.claims, deployment, sim.now) for worker in online]
    return not isinstance(placement.place(choice.need_of(deployment), free), placement.Place)


def _names(sim: Simulation) -> Iterator[str]:
    """Of machines that are one worker, one works; what a takeover laid to rest rests until an operator starts it."""
    for name, count in Counter(host.name for host in sim.active()).items():
        if count > 1:
            yield f"{count} agents are {name}"
    for host in sim.hosts:
        for each in host.running() if host.machine == "successor" else []:
            if each.deployment_id in sim.to_rest - sim.operators.asked.touched:
                yield f"{host.machine} runs {each.name}, and nobody started it there"


def _operations(sim: Simulation) -> Iterator[str]:
    ran = Counter(call for host in sim.hosts for call in set(host.engine.calls))
    for stored in [each for each in Operation.scan() if each.type]:
        operation = queue.load(
            stored.operation_id, sim.now + queue.RESULT_SILENCE_SECONDS + queue.ACTION_EXPIRY_SECONDS
        )
        status, type_ = S(operation.status), str(operation.type)
        about = f"operation {operation.operation_id} ({type_}) is {status} {operation.error_code or ''}"
        if status in OPEN:
            yield f"{about} for ever"
        silence = sim.catastrophe or any(sim.faults.happened[each] for each in SILENCING)
        if operation.error_code == "RESULT_LOST" and not silence:
            yield f"{about}, and its worker is there"
        parameters = msgspec.json.decode(operation.parameters)
        name = parameters.get("image") or parameters.get("image_id")
        times = ran[f"{type_.removesuffix('_image')} {name}" if type_ == "pull_image" else f"{type_} {name}"]
        is_late = operation.operation_id in sim.network.too_late - sim.network.in_time
        if times and is_late and not sim.catastrophe:
            yield f"{about}, reached its agent too late, and ran"
        if name and status is S.SUCCEEDED and not times:
            yield f"{about}, and never ran"
        unsent = status is S.CANCELLED or (status is S.EXPIRED and operation.sent_at is None)
        if times and unsent and operation.operation_id not in sim.forgotten:
            yield f"{about}, and ran"


def _reservations(sim: Simulation, known: dict[str, Deployment]) -> Iterator[str]:
    """Nothing is reserved for ever: not a GPU, and not a worker's attention."""
    active = {host.worker_id for host in sim.active()} - {None}
    for worker in scan.workers().values():
        intents, queued = slots.of_worker(worker.worker_id)
        for gpu, holder in worker.claims.items():
            slot = next((each for each in intents if each.deployment_id == holder), None)
            deployment = known.get(holder)
            live = deployment and deployment.worker_id == worker.worker_id and deployment.status in LIVE
            if slot and slot.holds_gpus and not live:
                yield f"GPU {gpu} of {worker.record.name} is held for {holder}"
        if worker.worker_id not in active:
            continue
        for slot in intents:
            if slot.settled_at is None:
                yield f"{slot.intent} of {slot.deployment_id} (generation {int(slot.generation)}) waits for its receipt"
        for row in queued:
            yield f"{row.slot} is still queued"
