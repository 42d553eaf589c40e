"""What Prometheus is told of the fleet: gauges of what is now, read in one census, and counters of what ended.

A silent worker's figures of its GPUs and disk are left out: they would look like measurements and be memories.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable

from chalicelib.deployments import crash_loops, publication
from chalicelib.fleet import conditions, scan
from chalicelib.fleet.workers import Worker
from chalicelib.scheduling import gpu_claims
from chalicelib.store.tables import Count, Deployment, Operation
from chalicelib.telemetry.exposition import Family
from chalicelib.telemetry.fleet_reader import Fleet, FleetReader
from muster.api import messages as m
from muster.api import resources as r
from muster.api import usage as usage_figures
from muster.api.conditions import ConditionType
from muster.api.errors import ApiError
from muster.api.lifecycle import OPEN, OperationStatus, Status
from muster.api.version import VERSION

GROUPS = ("summary", "workers", "gpus", "disks", "deployments", "operations")
"""What a scrape may ask for, each with the metrics of docs/protocol.md. A GPU has six samples, a worker nine."""
ENDED = [status for status in OperationStatus if status not in OPEN]


def families(now: float) -> list[Family]:
    """Every metric, from one read of the whole fleet. `now` is epoch seconds."""
    return families_of(FleetReader().read(now))


def families_of(fleet: Fleet, groups: Collection[str] = GROUPS) -> list[Family]:
    """The metrics of these groups, as of when the fleet was read; operations are read now."""
    return [family for group in GROUPS if group in groups for family in _MADE[group](fleet)]


def groups(query: r.MetricsQuery) -> Collection[str]:
    """The groups that a scrape asks for. Raises INVALID_REQUEST for a name that is none of them."""
    asked = GROUPS if query.collect is None else [name.strip() for name in query.collect.split(",")]
    for name in asked:
        if name not in GROUPS:
            raise ApiError(
                "INVALID_REQUEST", f"collect: expected some of {', '.join(GROUPS)}, with commas between them"
            )
    return asked


def _summary(fleet: Fleet) -> Iterable[Family]:
    build = Family("muster_build_info", "gauge", "The control plane's version.")
    build.add(1, version=VERSION)
    workers = Family("muster_workers", "gauge", "Workers by status.")
    counted = Counter(_status(worker, fleet.read_at) for worker in fleet.workers.values())
    for status in ("online", "draining", "offline"):
        workers.add(counted[status], status=status)
    deployments = Family("muster_deployments", "gauge", "Deployments by what is wanted of them and how that goes.")
    pairs = Counter((str(deployment.desired), str(deployment.status)) for deployment in fleet.deployments.values())
    for desired in ("running", "stopped"):
        for each_status in Status:
            deployments.add(pairs[desired, each_status], desired=desired, status=each_status)
    return build, workers, deployments


def _of_workers(fleet: Fleet) -> Iterable[Family]:
    workers, now = list(fleet.workers.values()), fleet.read_at
    conflicts = publication.conflicts_among(fleet.deployments.values(), fleet.workers, now)
    return *_workers(workers, now), _conditions(workers, conflicts.keys(), now)


def _workers(workers: list[Worker], now: float) -> Iterable[Family]:
    info = Family("muster_worker_info", "gauge", "A worker, with what it says of itself.")
    online = Family("muster_worker_online", "gauge", "Whether it was heard of lately.")
    draining = Family("muster_worker_draining", "gauge", "Whether nothing new is placed on it.")
    age = Family("muster_worker_heartbeat_age_seconds", "gauge", "Seconds since its last heartbeat.")
    for worker in workers:
        name = str(worker.record.name)
        info.add(
            1,
            worker=name,
            worker_id=worker.worker_id,
            hostname=worker.record.hostname,
            version=worker.record.agent_version,
        )
        online.add(int(worker.online(now)), worker=name)
        draining.add(int(worker.draining()), worker=name)
        age.add(round(max(0.0, now - float(worker.heartbeat.last_seen)), 3), worker=name)
    return info, online, draining, age


def _status(worker: Worker, now: float) -> str:
    return "offline" if not worker.online(now) else "draining" if worker.draining() else "online"


def _types(worker: Worker, conflicts: Collection[str]) -> list[str]:
    has_conflict = worker.worker_id in conflicts or publication.of_address(worker) is not None
    return [*conditions.types(worker), *([ConditionType.ADDRESS_CONFLICT] if has_conflict else [])]


def _conditions(workers: list[Worker], conflicts: Collection[str], now: float) -> Family:
    """From the items that a scrape reads anyway: a type that only a newer agent knows is `Other` here."""
    family = Family("muster_worker_condition", "gauge", "1 for each type of condition that an online worker has.")
    for worker in workers:
        for type_ in _types(worker, conflicts) if worker.online(now) else ():
            family.add(1, worker=str(worker.record.name), type=type_)
    return family


def _gpus(workers: list[Worker], now: float) -> Iterable[Family]:
    total = Family("muster_worker_gpus", "gauge", "GPUs of a worker.")
    held = Family("muster_worker_gpus_claimed", "gauge", "GPUs of a worker that deployments hold.")
    info = Family("muster_gpu_info", "gauge", "A GPU, with its name.")
    claimed = Family("muster_gpu_claimed", "gauge", "Whether a deployment holds it.")
    lost = Family("muster_gpu_lost", "gauge", "Whether it does not answer: it fell off the bus, or has to be reset.")
    memory = Family("muster_gpu_memory_total_bytes", "gauge", "Memory of a GPU.")
    used = Family("muster_gpu_memory_used_bytes", "gauge", "Memory in use at the last heartbeat, whoever uses it.")
    utilization = Family("muster_gpu_utilization_ratio", "gauge", "Utilization at the last heartbeat, 0 to 1.")
    for worker in workers:
        name = str(worker.record.name)
        total.add(len(worker.devices), worker=name)
        held.add(len(worker.claims), worker=name)
        for device in worker.gpu_info.devices:
            info.add(1, worker=name, gpu=str(device.index), name=device.name, uuid=device.uuid)
            lost.add(int(device.lost), worker=name, gpu=str(device.index))
            if device.memory_total:  # earlier releases send 0 where it is unknown
                memory.add(device.memory_total, worker=name, gpu=str(device.index))
        for index in map(str, worker.devices):
            claimed.add(int(index in worker.claims), worker=name, gpu=index)
        for usage in _usage(worker, now)[1]:
            if usage.memory_used is not None:
                used.add(usage.memory_used, worker=name, gpu=str(usage.index))
            if usage.utilization is not None:
                utilization.add(usage.utilization / 100, worker=name, gpu=str(usage.index))
    return total, held, info, claimed, lost, memory, used, utilization


def _disks(workers: list[Worker], now: float) -> Iterable[Family]:
    total = Family("muster_worker_disk_total_bytes", "gauge", "The disk that fills up first.")
    used = Family("muster_worker_disk_used_bytes", "gauge", "Its space in use.")
    free = Family("muster_worker_disk_free_bytes", "gauge", "Its space left for the agent.")
    for worker in workers:
        disk, name = _usage(worker, now)[0], str(worker.record.name)
        if disk:
            total.add(disk.total, worker=name)
            used.add(disk.used, worker=name)
            free.add(disk.free, worker=name)
    return total, used, free


def _usage(worker: Worker, now: float) -> tuple[m.Disk | None, list[m.GpuUsage]]:
    return usage_figures.unpack(
        bytes(worker.heartbeat.usage) if worker.heartbeat.usage and worker.online(now) else None
    )


def _deployments(found: list[Deployment], workers: dict[str, Worker], now: float) -> Iterable[Family]:
    info = Family("muster_deployment_info", "gauge", "A deployment, its model, and the worker that it is on.")
    wanted = Family("muster_deployment_desired_running", "gauge", "Whether it should run.")
    status = Family("muster_deployment_status", "gauge", "1 for the status that it has.")
    reachable = Family("muster_deployment_reachable", "gauge", "Whether its worker was heard of lately.")
    restarts = Family("muster_deployment_restarts_total", "counter", "Restarts by its agent since it was started.")
    loop = Family("muster_deployment_crash_loop", "gauge", "1 for the cause of the crash loop that it is in.")
    times = Family("muster_deployment_crash_loop_failures", "gauge", "Failures in a row with that cause.")
    next_start = Family("muster_deployment_next_start_seconds", "gauge", "Until its crash loop's next start.")
    for deployment in found:
        name, worker = str(deployment.name), workers.get(str(deployment.worker_id))
        worker_name = str(worker.record.name) if worker else None
        model = gpu_claims.spec_of(deployment).model
        info.add(1, deployment=name, deployment_id=deployment.deployment_id, model=model, worker=worker_name)
        wanted.add(int(deployment.desired == "running"), deployment=name)
        status.add(1, deployment=name, status=deployment.status)
        reachable.add(int(worker.online(now) if worker else deployment.worker_id is None), deployment=name)
        restarts.add(int(deployment.restarts), deployment=name)
        looping = crash_loops.of(deployment, now)
        if looping is not None:
            loop.add(1, deployment=name, error_code=looping.error_code)
            times.add(looping.times, deployment=name)
        if looping is not None and looping.next_start_in is not None:
            next_start.add(looping.next_start_in, deployment=name)
    return info, wanted, status, reachable, restarts, loop, times, next_start


def _open(found: list[Operation], now: float) -> Family:
    family = Family("muster_operations_open", "gauge", "Operations that workers have not answered, by type and status.")
    waits = (OperationStatus.QUEUED, OperationStatus.SENT)
    alive = [
        operation
        for operation in found
        if operation.status in OPEN and not (operation.status in waits and now > operation.expires_at)
    ]
    counted = Counter((str(operation.type), str(operation.status)) for operation in alive)
    for (type_, status), number in sorted(counted.items()):
        family.add(number, type=type_, status=status)
    return family


def _ended() -> Family:
    """Counted where they end, as to count the history would be to read it: one item for each type and status."""
    family = Family("muster_operations_ended_total", "counter", "Operations that ended, by type and how.")
    keys = {f"count#{type_}#{status}": (type_, str(status)) for type_ in m.OUTPUTS for status in ENDED}
    stored = {str(count.key): int(count.ended) for count in Count.batch_get(list(keys))}
    for key, (type_, status) in keys.items():
        family.add(stored.get(key, 0), type=type_, status=status)
    return family


_MADE: dict[str, Callable[[Fleet], Iterable[Family]]] = {
    "summary": _summary,
    "workers": _of_workers,
    "gpus": lambda fleet: _gpus(list(fleet.workers.values()), fleet.read_at),
    "disks": lambda fleet: _disks(list(fleet.workers.values()), fleet.read_at),
    "deployments": lambda fleet: _deployments(list(fleet.deployments.values()), fleet.workers, fleet.read_at),
    "operations": lambda fleet: (_open(scan.open_operations(), fleet.read_at), _ended()),
}
