"""An engine without a host: the real interface, in memory, with switches for what a host does to one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Lock

from agent.engines import Cancelled, EngineError, Instance, LogChunk, RunSpec
from agent.engines.logs import Line, chunk
from agent.policy import TESTED_IMAGE
from chalicelib.contract.messages import Image, Kept, Progress, Pruned, Pulled


@dataclass
class MemoryEngine:
    """`available` are the images that a registry would have. `on_pull` is called in the middle of a pull."""

    name: str = "memory"
    uses_images: bool = True
    available: set[str] = field(default_factory=lambda: {TESTED_IMAGE, "vllm/vllm-openai:latest"})
    on_pull: Callable[[], None] = lambda: None
    down: bool = False
    first_words: str = ""
    on_start: Callable[[RunSpec], None] = lambda spec: None

    def __post_init__(self) -> None:
        self.all: dict[str, Instance] = {}
        self.log_lines: dict[str, list[Line]] = {}
        self.specs: list[RunSpec] = []
        self.pulled: dict[str, Image] = {}
        self.calls: list[str] = []
        self.taken_ports: set[int] = set()
        self._count = 0
        self._lock = Lock()

    # Engine

    def instances(self) -> list[Instance]:
        if self.down:
            raise EngineError("DOCKER_UNAVAILABLE", "the engine is down")
        return list(self.all.values())

    def start(self, spec: RunSpec) -> Instance:
        with self._lock:
            return self._start(spec)

    def stop(self, instance_id: str, grace: float) -> None:
        self.calls.append(f"stop {instance_id}")
        instance = self.all.get(instance_id)
        if instance is not None and instance.state == "running":
            self.die(instance_id, 137)

    def remove(self, instance_id: str) -> None:
        instance = self.all.get(instance_id)
        if instance is not None and instance.state == "running":
            raise EngineError("CONTAINER_FAILED", f"{instance_id} is running: stop it first")
        self.all.pop(instance_id, None)
        self.log_lines.pop(instance_id, None)

    def logs(self, instance_id: str, lines: int, since: str | None) -> LogChunk:
        if instance_id not in self.all:
            raise EngineError("CONTAINER_NOT_FOUND", f"no container {instance_id}")
        return chunk(reversed(self.log_lines.get(instance_id, [])), lines, since)

    def has_image(self, reference: str) -> bool:
        return not self.uses_images or reference in self.pulled

    def images(self) -> list[Image]:
        return list(self.pulled.values())

    def pull(self, reference: str, on_progress: Callable[[Progress], None], cancelled: Event) -> Pulled:
        self._need_images()
        self.calls.append(f"pull {reference}")
        on_progress(Progress("downloading", 1, 2))
        self.on_pull()
        if cancelled.is_set():
            raise Cancelled
        if reference not in self.available:
            raise EngineError("IMAGE_NOT_FOUND", f"no image {reference} in the registry")
        on_progress(Progress("extracting", 2, 2))
        image = self.pulled.setdefault(
            reference, Image(f"sha256:{len(self.pulled):08d}", [reference], 1000, "2024-01-01T00:00:00Z")
        )
        return Pulled(image.id, image.tags)

    def delete_image(self, reference: str, force: bool) -> list[str]:
        self._need_images()
        key = next((key for key, image in self.pulled.items() if reference in (key, image.id)), None)
        if key is None:
            raise EngineError("IMAGE_NOT_FOUND", f"no image {reference}")
        if any(each.image == key for each in self.all.values()) and not force:
            raise EngineError("IMAGE_IN_USE", f"{reference} is in use")
        return [self.pulled.pop(key).id]

    def prune(self, *, images: frozenset[str], containers: bool, volumes: bool, dry_run: bool) -> Pruned:
        used = {each.image for each in self.all.values()}
        ours = {key: image for key, image in self.pulled.items() if image.id in images}
        free = {key: image for key, image in ours.items() if key not in used}
        kept = [Kept(image.id, image.size, "a container uses it") for key, image in ours.items() if key not in free]
        dead = (
            [each for each in self.all.values() if each.deployment_id and each.state != "running"] if containers else []
        )
        if not dry_run:
            self.calls.append("prune")
            for key in free:
                del self.pulled[key]
            for each in dead:
                self.remove(each.id)
        return Pruned(sum(image.size for image in free.values()), kept)

    def root(self) -> Path:
        return Path("/")

    # What happens to a host

    def add(self, instance: Instance) -> Instance:
        """Something that is just there: another agent's, or somebody's own."""
        self.all[instance.id] = instance
        return instance

    def say(self, instance_id: str, text: str | bytes) -> None:
        """Each line comes a second after the one before, from 2020 on."""
        lines = self.log_lines.setdefault(instance_id, [])
        line = text.encode() if isinstance(text, str) else text
        lines.append(Line((1_577_836_800 + len(lines)) * 1_000_000_000, line))

    def die(self, instance_id: str, exit_code: int, log: str = "") -> None:
        if log:
            self.say(instance_id, log)
        self.all[instance_id] = replace(self.all[instance_id], state="exited", exit_code=exit_code)

    def only(self) -> Instance:
        """The one running instance."""
        (instance,) = [each for each in self.all.values() if each.state == "running"]
        return instance

    def _start(self, spec: RunSpec) -> Instance:
        self.calls.append(f"start {spec.name}")
        existing = next((each for each in self.all.values() if each.name == spec.name), None)
        if existing is not None:
            if existing.worker_id != spec.worker_id:
                raise EngineError("CONTAINER_FAILED", f"{spec.name} is another worker's")
            return existing
        if self.uses_images and spec.image not in self.pulled:
            raise EngineError("IMAGE_NOT_FOUND", f"no image {spec.image}")
        self.on_start(spec)
        taken = {each.port for each in self.all.values() if each.state == "running"} | self.taken_ports
        if spec.port in taken:
            raise EngineError("PORT_IN_USE", f"port {spec.port} is in use")
        self.specs.append(spec)
        self._count += 1
        instance = Instance(
            id=f"{self._count:04d}{'e' * 8}",
            name=spec.name,
            image=spec.image or "",
            state="running",
            worker_id=spec.worker_id,
            deployment_id=spec.deployment_id,
            generation=spec.generation,
            model=spec.model,
            bind=spec.bind,
            port=spec.port,
            created=float(self._count),
        )
        if self.first_words:
            self.say(instance.id, self.first_words)
        return self.add(instance)

    def _need_images(self) -> None:
        if not self.uses_images:
            raise EngineError("UNSUPPORTED_BY_ENGINE", "no images here")
