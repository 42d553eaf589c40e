"""Where a deployment goes: pure, from what it needs and what the workers have to a place or the reasons why not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from muster.api.structs import Value


class Need(Value, frozen=True):
    """`gpus`: how many devices, or which. `worker_id` pins; `selector` are labels that the worker must have."""

    gpus: int | tuple[int, ...]
    worker_id: str | None = None
    selector: Mapping[str, str] = {}

    @property
    def count(self) -> int:
        return self.gpus if isinstance(self.gpus, int) else len(self.gpus)


class Candidate(Value, frozen=True):
    """A worker as placement sees it. `free` are the indexes of its devices that can be used and that no deployment
    holds; `unusable` says why the others cannot be used: "lost". `mig` are those that are MIG devices: CUDA shows a
    process no more than one of them, so that a deployment of several devices has none."""

    worker_id: str
    name: str
    online: bool
    draining: bool
    labels: Mapping[str, str]
    devices: tuple[int, ...]
    free: tuple[int, ...]
    unusable: Mapping[int, str] = {}
    mig: frozenset[int] = frozenset()


class Place(Value, frozen=True):
    worker_id: str
    gpu_indexes: tuple[int, ...]


def place(need: Need, candidates: Iterable[Candidate]) -> Place | list[str]:
    """The tightest fit, so that large deployments find room later; else one reason a worker.

    A pinned worker is taken even while it is silent: its slot waits for it.
    """
    fitting: list[tuple[int, str, Place]] = []
    reasons: list[str] = []
    for worker in sorted(candidates, key=lambda w: w.name):
        if need.worker_id not in (None, worker.worker_id):
            continue
        reason = _obstacle(need, worker)
        if reason:
            reasons.append(f"{worker.name}: {reason}")
            continue
        indexes = _free(need, worker)[: need.gpus] if isinstance(need.gpus, int) else need.gpus
        fitting.append((len(worker.free) - len(indexes), worker.name, Place(worker.worker_id, tuple(indexes))))
    if fitting:
        return min(fitting, key=lambda entry: entry[:2])[2]
    nobody = "no worker has joined yet" if need.worker_id is None else "the worker that it is for was removed"
    return reasons or [nobody]


def _obstacle(need: Need, worker: Candidate) -> str | None:
    if not worker.online and need.worker_id is None:
        return "offline"
    if worker.draining:
        return "draining"
    lacking = [f"{key}={value}" for key, value in need.selector.items() if worker.labels.get(key) != value]
    if lacking:
        return f"has no label {', '.join(lacking)}"
    if isinstance(need.gpus, int):
        free = _free(need, worker)
        if need.gpus > len(free):
            few = f"{len(free)} of {len(worker.devices)} GPUs free, {need.gpus} needed"
            why = ", ".join(filter(None, (_unusable(worker, worker.devices), _of_mig(need, worker, worker.free))))
            return f"{few} ({why})" if why else few
        return None
    absent = [index for index in need.gpus if index not in worker.devices]
    if absent:
        return f"has no GPU {', '.join(map(str, absent))}"
    if why := _unusable(worker, need.gpus) or _of_mig(need, worker, need.gpus):
        return why
    held = [index for index in need.gpus if index not in worker.free]
    return f"GPU {', '.join(map(str, held))} held by another deployment" if held else None


def _free(need: Need, worker: Candidate) -> tuple[int, ...]:
    return worker.free if need.count < 2 else tuple(index for index in worker.free if index not in worker.mig)


def _of_mig(need: Need, worker: Candidate, indexes: Iterable[int]) -> str:
    """Which of the devices a deployment of several cannot have, since each is only a part of a GPU."""
    parts = [index for index in indexes if index in worker.mig] if need.count > 1 else []
    if not parts:
        return ""
    are = "is a MIG device" if len(parts) == 1 else "are MIG devices"
    return f"GPU {', '.join(map(str, parts))} of {worker.name} {are}, which a model has alone"


def _unusable(worker: Candidate, indexes: Iterable[int]) -> str:
    """Which of the devices cannot be used, and why; those with one reason in one clause."""
    by_reason: dict[str, list[int]] = {}
    for index in indexes:
        if index in worker.unusable:
            by_reason.setdefault(worker.unusable[index], []).append(index)
    return ", ".join(
        f"GPU {', '.join(map(str, those))} of {worker.name} {'is' if len(those) == 1 else 'are'} {reason}"
        for reason, those in by_reason.items()
    )
