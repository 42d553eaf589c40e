"""What the agent asks of whatever runs models on its host: Docker, or plain processes where there is no Docker.

An engine does not depend on the control plane. Its instances carry their own labels (worker, deployment,
generation), so a restarted agent finds its instances without a copy of that knowledge. Every method may block,
and the heartbeat calls none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Literal, Protocol

from muster.api.messages import Fix, Image, Progress, Pruned, Pulled


class EngineError(Exception):
    """A step that failed, with the error_code that says what to do (docs/protocol.md, Crash reports).

    `fix` is the change to the deployment that would let it pass, where there is one. `permanent`: whatever its code, it
    fails again however often it is tried.
    """

    def __init__(self, error_code: str, message: str, fix: Fix | None = None, *, permanent: bool = False) -> None:
        message = message.encode("utf-8", "replace").decode()  # a deployment's JSON may hold half of a surrogate pair
        super().__init__(message)
        self.error_code = error_code
        self.message = message
        self.fix = fix
        self.permanent = permanent


class Cancelled(Exception):
    """The caller's event was set while the engine worked."""


@dataclass(frozen=True)
class Mount:
    source: Path
    target: str
    read_only: bool


@dataclass(frozen=True)
class RunSpec:
    """One instance to start. `arguments` are vLLM's own, the model first; `env` may hold secrets: never log it.
    `entrypoint` replaces the image's; with `host_network` the program listens at `bind`, and no port is published.

    `gpus` are indexes as the control plane has them, `devices` the same GPUs by UUID where the driver tells them, and
    `positions` by the index that CUDA has for them at this moment.
    """

    name: str
    worker_id: str
    deployment_id: str
    generation: int
    model: str
    image: str | None
    arguments: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    gpus: tuple[int, ...]
    bind: str
    port: int
    mounts: tuple[Mount, ...] = ()
    devices: tuple[str, ...] = ()
    positions: tuple[int, ...] = ()
    entrypoint: tuple[str, ...] = ()
    host_network: bool = False

    @property
    def device_ids(self) -> tuple[str, ...]:
        return self.devices or tuple(map(str, self.positions or self.gpus))

    @property
    def visible(self) -> tuple[str, ...]:
        """The GPUs as CUDA is told of them: by position, since not every release of vLLM reads UUIDs. A MIG device has
        none, and is told by its UUID."""
        positions = map(str, self.positions or self.gpus)
        return tuple(
            device if device.startswith("MIG-") else position
            for device, position in zip(self.device_ids, positions, strict=True)
        )


@dataclass(frozen=True)
class Instance:
    """A container or process. `deployment_id` is None for what no agent of Muster started. Times are epoch seconds.

    `image` is the name that it was started by; `image_id` what that name meant then. `gpus` are the devices that it was
    given, by UUID or position; None where that is unknown.
    """

    id: str
    name: str
    image: str
    state: Literal["created", "running", "exited"]
    worker_id: str | None = None
    deployment_id: str | None = None
    generation: int | None = None
    model: str | None = None
    bind: str | None = None
    port: int | None = None
    pid: int | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    created: float = 0.0
    image_id: str | None = None
    gpus: tuple[str, ...] | None = None


@dataclass(frozen=True)
class LogChunk:
    """Decoded text (undecodable bytes replaced) and the point in time where the next one starts.

    `times` are of its lines, in nanoseconds since the epoch.
    """

    text: str
    next_since: str | None
    truncated: bool = False
    times: tuple[int, ...] = ()


@dataclass(frozen=True)
class Offer:
    """What a pull would bring. `platform` is the host's ("linux/amd64"), `platforms` those that the image is there for.

    `fetch` are the bytes of the layers that are not here, as they are sent; unpacked they take more. `env` is the
    image's own.
    """

    image: str
    platform: str
    platforms: tuple[str, ...]
    fetch: int = 0
    env: Mapping[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """Docker's verbs, as far as Muster needs them. Absent is done: stopping or removing what is gone succeeds."""

    name: str
    uses_images: bool

    def instances(self) -> list[Instance]:
        """Everything on this host, other people's included."""

    def start(self, spec: RunSpec) -> Instance:
        """Start it, or return the one of that name if this worker started it before. A failed start leaves nothing.

        Raises EngineError (PORT_IN_USE, ADDRESS_MISSING, GPU_UNAVAILABLE, IMAGE_NOT_FOUND, INVALID_CONFIG,
        CONTAINER_FAILED).
        """

    def stop(self, instance_id: str, grace: float) -> None:
        """Ask it to end, kill it after `grace` seconds, return when it is dead. Its log and exit code remain."""

    def remove(self, instance_id: str) -> None:
        """Forget a dead one, its log included."""

    def logs(self, instance_id: str, lines: int, since: str | None) -> LogChunk:
        """The last `lines` lines; `since` is RFC 3339 or epoch seconds.

        Raises EngineError (CONTAINER_NOT_FOUND, INVALID_REQUEST).
        """

    def has_image(self, reference: str) -> bool: ...

    def images(self) -> list[Image]: ...

    def offer(self, reference: str) -> Offer | None:
        """What a pull of it would bring, where its registry tells."""

    def pull(self, reference: str, on_progress: Callable[[Progress], None], cancelled: Event) -> Pulled:
        """Raises Cancelled, EngineError (IMAGE_NOT_FOUND, REGISTRY_UNAUTHORIZED, REGISTRY_UNREACHABLE, PULL_STALLED,
        DISK_FULL), with what to do in its message.
        """

    def delete_image(self, reference: str, force: bool) -> list[str]:
        """Raises EngineError (IMAGE_NOT_FOUND, IMAGE_IN_USE)."""

    def prune(self, *, images: frozenset[str], containers: bool, volumes: bool, dry_run: bool) -> Pruned:
        """Free disk: of `images` (ids that this agent pulled) those that nothing uses; what carries Muster's label of
        dead containers and unused volumes. `dry_run` only counts.
        """

    def root(self) -> Path:
        """A path on the disk that fills up."""
