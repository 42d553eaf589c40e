"""What is in the way of a deployment, all of it at once, before anything is fetched or ended for it.

Each check is a generator of findings and none depends on another, so that an operator mends everything in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from muster.api.messages import Deploy, Disk, Fix
from muster_agent.backends.command import RunTemplate
from muster_agent.backends.flags import value_of
from muster_agent.backends.hub import MAX_CONFIG_BYTES, Finding, Hub, HuggingFace, Question, question
from muster_agent.backends.hub_cache import PREFIX, cached_models
from muster_agent.backends.policy import HostPolicy, is_path
from muster_agent.backends.weights import CODE, has_snapshot, unusable
from muster_agent.engines.base import EngineError, Instance, Offer
from muster_agent.gpus.cuda import Driver, unsatisfied
from muster_agent.gpus.devices import Devices
from muster_agent.gpus.driver_advice import for_device
from muster_agent.gpus.gpu_usage import Gpu
from muster_agent.gpus.quantization import MIN_CAPABILITY, MIN_CAPABILITY_OF_VLLM, capability_text, method
from muster_agent.host.facts import HostMemory, disk, host_memory

DEFAULT_GPU_MEMORY_UTILIZATION = 0.9
"""The share of a GPU's memory that vLLM wants free where `gpu_memory_utilization` does not say."""
MIN_GPU_MEMORY_SHARE = 0.1
"""Of a GPU's memory; no model worth a GPU runs in less."""
UNPACKED_IMAGE_FACTOR = 2.5
"""An estimate of what an image takes, unpacked, beside its layers as they are sent: those are compressed."""
MIN_FREE_DISK_BYTES = 64 * 1024**2
"""Bytes without which not even a log can be written for long."""


class GpuMissing(EngineError):
    """The deployment waits for its GPU, which is lost, or in use by another model. Nothing has failed."""

    def __init__(self, message: str) -> None:
        super().__init__("GPU_UNAVAILABLE", message)


@dataclass(frozen=True)
class HostProbe:
    """What preflight looks at: the hub, the GPUs, their driver, the file system of a path, the host's memory."""

    hub: Hub = field(default_factory=HuggingFace)
    gpus: Callable[[], Sequence[Gpu]] = field(default_factory=lambda: Devices().gpus)
    disk: Callable[[Path], Disk] = disk
    driver: Callable[[], Driver | None] = lambda: None
    memory: Callable[[], HostMemory] = host_memory


@dataclass(frozen=True)
class StartRequest:
    """A start that is to be, and what is there: `own` are the deployment's instances that it replaces, `there` is
    everything on the host, `root` the engine's disk, `offer` what a pull of its image would bring, if one is needed.
    """

    template: RunTemplate
    host_env: Mapping[str, str] = field(repr=False)
    own: Collection[Instance]
    there: Collection[Instance]
    root: Path
    offer: Offer | None = None

    @property
    def command(self) -> Deploy:
        return self.template.command


@dataclass(frozen=True)
class PreflightResult:
    """Nothing is in the way. `caution` is what to know all the same, `weights` the bytes to download, if known."""

    caution: str = ""
    weights: int | None = None


@dataclass(frozen=True)
class Preflight:
    policy: HostPolicy
    host_probe: HostProbe

    def check(self, request: StartRequest, found: Collection[Finding] = ()) -> PreflightResult:
        """`found` is what others found already. Raises EngineError with the first code and every message."""
        asked = self._question(request)
        obstacle = self.host_probe.hub.obstacle(asked) if asked is not None else None
        weights = self.host_probe.hub.weights(asked) if asked is not None and obstacle is None else None
        findings = [*([obstacle] if obstacle else []), *found, *self._gpus(request), *self._disks(request, weights)]
        findings += self._quantization(request, asked if obstacle is None else None)
        findings += [*self._weights(request), *self._image(request)]
        obstacles = [finding for finding in findings if not finding.warns_only]
        if obstacles:
            raise _as_error(obstacles)
        return PreflightResult(_joined(findings), weights)

    def check_gpus(self, command: Deploy, worker_id: str, there: Collection[Instance]) -> Sequence[Gpu]:
        """The host's GPUs, where those of the command are there and no other deployment of Muster runs on them.

        `there` is everything on the host. Raises GpuMissing.
        """
        if not command.gpus:
            return ()
        gpus = self.host_probe.gpus()
        asked = [gpu for gpu in gpus if gpu.index in command.gpus]
        missing = [text for gpu in asked if (text := _missing(gpu, command, worker_id, there))]
        if missing:
            raise GpuMissing("; ".join(missing))
        return gpus

    def _question(self, request: StartRequest) -> Question | None:
        """What to ask the hub; None where the model does not come from there, or is here already."""
        env = {**self._login(request), **request.host_env, **request.template.env}
        asked = question(request.command.model, value_of(request.command.config, "revision"), env)
        return None if asked is None or self._cached(request.command.model) else asked

    def _quantization(self, request: StartRequest, asked: Question | None) -> Iterator[Finding]:
        """GPUs that are too old for vLLM, or for the model's quantization where its `config.json` can be read."""
        gpus = [gpu for gpu in self._asked_gpus(request) if gpu.capability is not None]
        if not gpus:
            return
        config = self._config(request.command.model)
        config = config or (self.host_probe.hub.config(asked) if asked is not None else None)
        named = method(config) if config is not None else None
        least = MIN_CAPABILITY[named] if named is not None else MIN_CAPABILITY_OF_VLLM
        what = f"{request.command.model} is quantized with {named}, which" if named is not None else "vLLM"
        advice = "deploy another quantization of it, or choose another worker" if named else "choose another worker"
        for gpu in gpus:
            if gpu.capability is not None and gpu.capability < least:
                has = f"GPU {gpu.index} has {capability_text(gpu.capability)}"
                needs = f"needs compute capability {capability_text(least)}"
                yield Finding("INVALID_CONFIG", f"{what} {needs}, and {has}: {advice}")

    def _asked_gpus(self, request: StartRequest) -> list[Gpu]:
        wanted = request.command.gpus
        return [gpu for gpu in self.host_probe.gpus() if gpu.index in wanted] if wanted else []

    def _config(self, model: str) -> bytes | None:
        """The `config.json` that is on this host: that of a folder, or of the newest snapshot in the cache."""
        cache = self.policy.hub_cache
        try:
            if is_path(model):
                return _beginning(Path(model) / "config.json")
            folder = cache / f"{PREFIX}{model.replace('/', '--')}" if cache is not None else None
            there = list(folder.glob("snapshots/*/config.json")) if folder is not None else []
            return _beginning(max(there, key=lambda path: path.stat().st_mtime)) if there else None
        except OSError:
            return None

    def _weights(self, request: StartRequest) -> Iterator[Finding]:
        if request.template.image is not None:
            return
        trouble = unusable(request.command.model, self.policy.hub_cache)
        if trouble is not None:
            yield Finding(CODE, trouble)

    def _image(self, request: StartRequest) -> Iterator[Finding]:
        """What the image's registry tells before it is pulled."""
        offer = request.offer
        if offer is None:
            return
        if offer.platform not in offer.platforms:
            has = ", ".join(offer.platforms) or "nothing"
            advice = "choose an image or a tag that has it"
            message = f"{offer.image} is there for {has}, and this host is {offer.platform}: {advice}"
            yield Finding("IMAGE_UNSUITABLE", message)
        driver = self.host_probe.driver() if request.command.gpus else None
        wants = unsatisfied({**offer.env, **request.template.env}, driver) if driver is not None else None
        if driver is not None and wants is not None:
            has = f"driver {driver.version} supports CUDA up to {driver.cuda}"
            yield Finding(
                "DRIVER_TOO_OLD",
                f"{offer.image} wants {wants}, and this host's {has}: update it, or choose an older image",
            )
        yield from self._disk(request.root, offer.fetch, f"the image {offer.image}")
        yield from self._unpacked(request.root, offer)

    def _unpacked(self, root: Path, offer: Offer) -> Iterator[Finding]:
        """How much an image grows is not known before it is unpacked, so this is no obstacle."""
        about = UNPACKED_IMAGE_FACTOR * offer.fetch
        for finding in self._disk(root, int(about), f"the image {offer.image}, unpacked, about"):
            yield replace(finding, warns_only=True)

    def _login(self, request: StartRequest) -> dict[str, str]:
        """The token of `hf auth login`, beside the cache: for processes alone, since no container sees it."""
        if request.template.image is not None or self.policy.hub_cache is None:
            return {}
        try:
            return {"HF_TOKEN": (self.policy.hub_cache.parent / "token").read_text(encoding="ascii").strip()}
        except (OSError, ValueError):
            return {}

    def _cached(self, model: str) -> bool:
        """Whether a snapshot is there: vLLM then asks the hub only for what is missing from it."""
        cache = self.policy.hub_cache
        return cache is not None and has_snapshot(cache / f"{PREFIX}{model.replace('/', '--')}")

    def _gpus(self, request: StartRequest) -> Iterator[Finding]:
        if not request.command.gpus:
            return
        there = {gpu.index: gpu for gpu in self.host_probe.gpus()}
        listed = ", ".join(map(str, sorted(there))) or "none"
        share = _utilization(request.command)
        for index in request.command.gpus:
            gpu = there.get(index)
            if gpu is None:
                advice = "check nvidia-smi there"
                yield Finding("GPU_UNAVAILABLE", f"GPU {index} is not on this host (it has: {listed}): {advice}")
            elif gpu.shared:
                yield self._shared(gpu, share, request)
            else:
                yield from _memory(gpu, share, request)

    def _shared(self, gpu: Gpu, share: float, request: StartRequest) -> Finding:
        """Of a GPU that takes the host's memory vLLM wants its share of all of that, as it is available then."""
        host = self.host_probe.memory()
        free = min(host.total, host.available + gpu.held_by(request.own))
        message = (
            f"the memory of GPU {gpu.index} is unknown to NVML, since it is the host's: {size(free)} of"
            f" {size(host.total)} is available, and vLLM wants {share:.0%} of it"
        )
        if free < share * host.total:
            advice = "end what uses the host's memory, or lower gpu_memory_utilization"
            return Finding("CUDA_OUT_OF_MEMORY", f"{message}: {advice}", fix=_smaller(free, host.total))
        return Finding("GPU_MEMORY_UNKNOWN", message, warns_only=True)

    def _disks(self, request: StartRequest, weights: int | None) -> Iterator[Finding]:
        cache = self.policy.hub_cache
        if weights is not None and cache is not None:
            here = sum(entry.size for entry in cached_models(cache) if entry.model == request.command.model)
            yield from self._disk(
                cache, max(weights - here, MIN_FREE_DISK_BYTES), f"the weights of {request.command.model}"
            )
        yield from self._disk(request.root, MIN_FREE_DISK_BYTES, "a container")

    def _disk(self, path: Path, needed: int, what: str) -> Iterator[Finding]:
        try:
            free = self.host_probe.disk(path).free
        except OSError:
            return  # a disk that does not answer has no figures
        if free < needed:
            advice = "prune, or delete models and images"
            yield Finding("DISK_FULL", f"{path} has {size(free)} free, and {what} needs {size(needed)}: {advice}")


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_CONFIG_BYTES)


def _missing(gpu: Gpu, command: Deploy, worker_id: str, there: Collection[Instance]) -> str | None:
    """Why the command cannot have the GPU for now."""
    if gpu.lost is not None:
        named = f"GPU {gpu.index} ({gpu.uuid})" if gpu.uuid else f"GPU {gpu.index}"
        advice = "or restart the deployment to have it placed on another GPU"
        return f"{named} is lost: {gpu.lost}: {for_device(gpu.lost)}, {advice}"
    users = gpu.users(there, worker_id, command.deployment_id)
    if users:
        named = ", ".join(f"{instance.name} (deployment {instance.deployment_id})" for instance in users)
        return f"GPU {gpu.index} is in use by {named}: stop that, or choose another GPU"
    return None


def _utilization(command: Deploy) -> float:
    try:
        return float(value_of(command.config, "gpu-memory-utilization") or DEFAULT_GPU_MEMORY_UTILIZATION)
    except ValueError:
        return DEFAULT_GPU_MEMORY_UTILIZATION  # vLLM will say what is wrong with it


def _memory(gpu: Gpu, share: float, request: StartRequest) -> Iterator[Finding]:
    used = gpu.used_by_others(request.own)
    if not gpu.total or used is None:
        advice = "whether the model fits is not known before it is loaded"
        message = f"NVML does not report how much memory GPU {gpu.index} has free: {advice}"
        yield Finding("GPU_MEMORY_UNKNOWN", message, warns_only=True)
    elif gpu.total - used < share * gpu.total:
        free = gpu.total - used
        yield Finding("CUDA_OUT_OF_MEMORY", _occupied(gpu, free, share, request), fix=_smaller(free, gpu.total))


def _occupied(gpu: Gpu, free: int, share: float, request: StartRequest) -> str:
    holders = ", ".join(
        f"{holder.describe(request.there)} ({size_or_unknown(holder.memory)})" for holder in gpu.others(request.own)
    )
    by = f", held by {holders}" if holders else ""
    return (
        f"GPU {gpu.index} has {size(free)} of {size_or_unknown(gpu.total)} free{by}, and vLLM wants {share:.0%} of"
        " it: end what holds it, lower gpu_memory_utilization, or choose another GPU"
    )


def _smaller(free: int, total: int) -> Fix | None:
    """The share that is free, where a model may still fit into it."""
    share = int(100 * free / total) / 100 if total else 0.0
    return Fix({"gpu_memory_utilization": share}) if share >= MIN_GPU_MEMORY_SHARE else None


def _as_error(obstacles: Sequence[Finding]) -> EngineError:
    if len(obstacles) == 1:
        return EngineError(obstacles[0].error_code, obstacles[0].message, obstacles[0].fix)
    return EngineError(obstacles[0].error_code, f"{len(obstacles)} things are in the way. {_joined(obstacles)}")


def _joined(findings: Sequence[Finding]) -> str:
    return "; ".join(f"{finding.error_code}: {finding.message}" for finding in findings)


def size(count: float) -> str:
    return f"{count / 1024**3:.1f} GiB" if count >= 1024**3 else f"{count / 1024**2:.0f} MiB"


def size_or_unknown(count: int | None) -> str:
    return "unknown" if count is None else size(count)
