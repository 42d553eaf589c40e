"""Models as plain processes, for hosts that are containers themselves and have no Docker inside (rented GPU pods).

Each instance is a folder below `<state_dir>/processes` with the name that a container would have, so that creating one
is atomic (supervisor.py says what is in it). A process that the agent did not see start is adopted where it is found;
one that never ran, because the agent was killed in between, is `created` and starts afresh.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock
from typing import NoReturn

from muster.api.messages import Image, Kept, Progress, Pruned, Pulled
from muster_agent.engines import labels, ports
from muster_agent.engines.base import EngineError, Instance, LogChunk, Offer, RunSpec
from muster_agent.engines.log_lines import chunk
from muster_agent.engines.process.supervisor import Supervised


class ProcessEngine:
    """Runs `command MODEL flags…`. It knows no images, and of the host's processes only its own."""

    name = "process"
    uses_images = False

    def __init__(
        self,
        state_dir: Path,
        command: tuple[str, ...] = ("vllm", "serve"),
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._state_dir = state_dir.absolute()
        self._folder = self._state_dir / "processes"
        self._command = command
        self._environ = environ
        self._lock = Lock()
        self._known: set[str] | None = None

    def instances(self) -> list[Instance]:
        return [_instance(process) for process in self._all()]

    def start(self, spec: RunSpec) -> Instance:
        try:
            with self._starting():
                existing = self._adopt(spec)
                return _instance(existing or self._launch(spec))
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise EngineError(
                "DISK_FULL" if full else "CONTAINER_FAILED", f"cannot start a process: {error}"
            ) from error

    def stop(self, instance_id: str, grace: float) -> None:
        if found := self._find(instance_id):
            found.stop(grace)

    def remove(self, instance_id: str) -> None:
        if found := self._find(instance_id):
            if found.alive():
                raise EngineError("CONTAINER_FAILED", f"{found.name} is running: stop it first")
            found.forget()

    def logs(self, instance_id: str, lines: int, since: str | None) -> LogChunk:
        found = self._find(instance_id)
        if found is None:
            raise EngineError("CONTAINER_NOT_FOUND", f"no process {instance_id[:80]} here")
        return chunk(found.log(), lines, since)

    def has_image(self, reference: str) -> bool:
        """Nothing ever has to be pulled."""
        return True

    def images(self) -> list[Image]:
        return []

    def offer(self, reference: str) -> Offer | None:
        return None

    def pull(self, reference: str, on_progress: Callable[[Progress], None], cancelled: Event) -> Pulled:
        _no_images()

    def delete_image(self, reference: str, force: bool) -> list[str]:
        _no_images()

    def prune(self, *, images: frozenset[str], containers: bool, volumes: bool, dry_run: bool) -> Pruned:
        """Forgets dead instances with their logs; there are no images and no volumes."""
        reclaimed, kept = 0, []
        for process in self._all() if containers else ():
            if process.alive():
                kept.append(Kept(what=process.name, bytes=process.size(), why="it is running"))
                continue
            reclaimed += process.size()
            if not dry_run:
                process.forget()
        return Pruned(space_reclaimed=reclaimed, kept=kept)

    def root(self) -> Path:
        return self._state_dir

    def _all(self) -> list[Supervised]:
        """Where one is missing that was there, and at first, also what runs without a folder: looking costs more."""
        with self._lock:
            found = self._listed()
            if self._known is None or not self._known <= {process.name for process in found}:
                found += Supervised.again(self._folder)
            self._known = {process.name for process in found}
            return found

    def _listed(self) -> list[Supervised]:
        if not self._folder.exists():
            return []
        folders = sorted(entry for entry in self._folder.iterdir() if not entry.name.startswith("."))
        return [loaded for folder in folders if (loaded := Supervised.load(folder))]

    def _find(self, instance_id: str) -> Supervised | None:
        return next((process for process in self._all() if instance_id in (process.record.id, process.name)), None)

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """One start at a time in this state folder. The kernel lets go of the lock however its holder ends."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)

    def _adopt(self, spec: RunSpec) -> Supervised | None:
        """The instance of that name; one that never ran makes way."""
        folder = self._folder / spec.name
        existing = Supervised.load(folder)
        if existing is not None:
            instance = _instance(existing)
            if instance.worker_id != spec.worker_id:
                raise EngineError("CONTAINER_FAILED", f"{spec.name} is another worker's")
            if instance.state != "created":
                return existing
        shutil.rmtree(folder, ignore_errors=True)
        return None

    def _launch(self, spec: RunSpec) -> Supervised:
        program = self._program()
        ports.check_port(spec.bind, spec.port)
        made = Supervised.create(self._folder / spec.name, labels.write(spec))
        try:
            made.launch((program, *self._command[1:], *spec.arguments), self._env(spec))
        except BaseException:  # also if the agent ends: a start that failed leaves nothing
            made.kill()
            made.forget()
            raise
        return made

    def _program(self) -> str:
        found = shutil.which(self._command[0], path=self._environ.get("PATH"))
        if found is None:
            what = f"{self._command[0]}: not found on this host (the agent's setting --vllm-command)"
            raise EngineError("CONTAINER_FAILED", what, permanent=True)
        return os.path.abspath(found)

    def _env(self, spec: RunSpec) -> dict[str, str]:
        """The agent's own, without its settings (its token is one), and GPUs counted as NVML counts them."""
        env = {name: value for name, value in self._environ.items() if not name.startswith("MUSTER_")}
        gpus = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(spec.visible)}
        return env | dict(spec.env) | gpus


def _instance(found: Supervised) -> Instance:
    alive, ended, pids, owner = found.alive(), found.ended, found.pids, labels.read(found.record.labels)
    return Instance(
        id=found.record.id,
        name=found.name,
        image="",
        state="running" if alive else "exited" if ended or pids else "created",
        worker_id=owner.worker_id,
        deployment_id=owner.deployment_id,
        generation=owner.generation,
        model=owner.model,
        bind=owner.bind,
        port=owner.port,
        pid=(pids.command or pids.leader) if alive and pids else None,
        exit_code=ended.code if ended and not alive else None,
        oom_killed=bool(ended and ended.code == 137 and ended.oom),
        created=found.created,
        gpus=owner.gpus,
    )


def _no_images() -> NoReturn:
    raise EngineError("UNSUPPORTED_BY_ENGINE", "this worker runs processes: it has no images")
