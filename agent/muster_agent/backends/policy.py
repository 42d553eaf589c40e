"""What the host's owner allows, whatever the control plane asks for. Docker is never asked to be privileged at all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from muster.api.messages import Deploy, FromHost, Image
from muster_agent.backends import host_paths
from muster_agent.backends.container_settings import Asked, AskedMount, asked
from muster_agent.backends.given_flags import given_flags
from muster_agent.backends.host_paths import Named, is_below, plain
from muster_agent.backends.mounts import AllowedMount, is_absent, lies_in, seen_at, why_not
from muster_agent.backends.remote_code import chosen_by_config, chosen_by_variable
from muster_agent.engines.base import EngineError, Mount

CONTAINER_HUB_CACHE = host_paths.HUB_CACHE
TESTED_IMAGE = "vllm/vllm-openai:v0.32.0"
"""The release of vLLM that `make e2e-vllm` runs. A moving tag would be another program after each pull."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?(?::[\w.-]+)?", re.ASCII)
_BUCKET = re.compile(r"(?:s3|gs|az)://[A-Za-z0-9][\w./-]*", re.ASCII)
SHARED = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)
"""The host's variables that every instance gets: how to reach the hub, and as whom."""

# What NVIDIA's runtime reads from a container's variables gives it devices of the host, and what the dynamic linker
# reads reaches that runtime's own programs, which run outside of the container (CVE-2025-23266).
_HOST_VARIABLES = re.compile(
    r"LD_\w+|NVIDIA_(?!VISIBLE_DEVICES$|DISABLE_REQUIRE$|REQUIRE_|TF32_OVERRIDE$)\w+", re.ASCII
)
# Variables that decide which code a process runs. In a container they are the container's affair.
_CODE_VARIABLES = re.compile(
    r"PATH|PYTHON\w*|BASH_ENV|ENV|SHELLOPTS|PS4|CC|CXX|CUDAHOSTCXX|NVCC\w*|CUDA_INJECTION\w+|OMP_TOOL_LIBRARIES"
    r"|VLLM_(?:PLUGINS|SERVER_DEV_MODE|ALLOW_INSECURE_SERIALIZATION)",
    re.ASCII,
)


# Variables that move the cache of weights, which the agent mounts, measures, and prunes.
_CACHE_VARIABLES = re.compile(
    r"HF_(?:HOME|HUB_CACHE|CACHE)|HUGGINGFACE_HUB_CACHE|(?:PYTORCH_)?TRANSFORMERS_CACHE|PYTORCH_PRETRAINED_BERT_CACHE"
    r"|XDG_CACHE_HOME|MODELSCOPE_CACHE"
)
_CACHE = "the host's cache of weights decides (HF_HOME of the agent, --models of join.sh): leave it out"


@dataclass(frozen=True)
class HostPolicy:
    """`allow_images` are patterns over an image's repository (`vllm/vllm-openai`, `registry.example/*`); one with a tag
    or a digest is matched against the whole reference. Local weights are allowed below `model_root` alone. `hub_cache`
    is where downloaded weights are kept, in Hugging Face's layout. `default_image` runs where a deployment names none,
    and is allowed as what the owner chose. `share_env` are variables that deployments may set, or take of the agent by
    `from_host`, besides those that all get. `allow_remote_code` lets deployments choose what code their
    models run, and which other hosts they talk to; without it a model brings code of its own in containers alone.
    Containers mount what is below `allow_mounts` where a deployment asks for it, have another entry point if
    `allow_entrypoint`, and the host's network if `allow_host_network`.
    """

    allow_images: tuple[str, ...] = ("vllm/vllm-openai",)
    model_root: Path | None = None
    hub_cache: Path | None = None
    default_image: str = TESTED_IMAGE
    share_env: tuple[str, ...] = ()
    allow_remote_code: bool = False
    allow_mounts: tuple[AllowedMount, ...] = ()
    allow_entrypoint: bool = False
    allow_host_network: bool = False

    def location(self, model: str, targets: tuple[str, ...] = ()) -> str:
        """What vLLM is told to load: a path with its symlinks resolved, or the name as it is.

        `targets` are where a container has mounts, in which a path is the container's. Raises EngineError
        REFUSED_BY_HOST: where a link leads may have changed since the command was looked at.
        """
        if not is_path(model) or is_below(model, *targets):
            return model
        resolved = str(Path(model).resolve())
        if not self.allows_path(resolved):
            raise EngineError("REFUSED_BY_HOST", f"model: {_outside(model, self)}")
        return resolved

    def mounts(self, command: Deploy) -> tuple[Mount, ...]:
        """What a container sees of the host: the cache of weights, what is asked for, and the owner's files if named.

        Raises EngineError REFUSED_BY_HOST, as `location` does; INVALID_CONFIG.
        """
        asks = asked(command.config)
        refused = _refusal_of_paths(command, self, asks) or _refusal_of_container(asks, self)
        if refused is not None:
            raise EngineError("REFUSED_BY_HOST", refused)
        found: dict[str, Mount] = {}
        if self.hub_cache is not None:
            found[CONTAINER_HUB_CACHE] = Mount(self.hub_cache.resolve(), CONTAINER_HUB_CACHE, read_only=False)
        if self.model_root is not None:
            for _, path in self._named(command, asks):
                for source, target in seen_at(path, self.model_root):
                    if not is_below(target, *found):
                        found[target] = Mount(source, target, read_only=True)
        for mount in asks.mounts:
            found[mount.target] = Mount(mount.source.resolve(), mount.target, mount.read_only)
        return tuple(found.values())

    def missing(self, command: Deploy) -> Iterator[Named]:
        """What a container is to see of the host, and is not there. A path that the agent may not look at counts as
        there, and so does one of a variable, which may be the image's.
        """
        asks = asked(command.config)
        named = [place for place in self._named(command, asks) if not place.where.startswith(("env.", "model"))]
        for where, path in (*named, *((mount.where, str(mount.source)) for mount in asks.mounts)):
            # Several of `name=path` in one text are found as a whole, too.
            if "=" not in path and is_absent(path):
                yield Named(where, plain(path))

    def _named(self, command: Deploy, asks: Asked) -> list[Named]:
        """The paths below `model_root` that a command names, as they are written there."""
        named = [Named("model", command.model)] if is_path(command.model) else []
        named += [*host_paths.in_config(command.config), *host_paths.in_env(command.env)]
        return [place for place in named if self.allows_path(place.path) and not is_below(place.path, *asks.targets)]

    def allows_mount(self, mount: AskedMount) -> str | None:
        """Why this host does not mount it; None if it does."""
        return why_not(mount, self._mountable(), over_programs=self.allow_remote_code)

    def _mountable(self) -> tuple[AllowedMount, ...]:
        return (*self.allow_mounts, *([AllowedMount(self.model_root, True)] if self.model_root else []))

    def allows_image(self, reference: str) -> bool:
        return reference == self.default_image or any(_matches(reference, pattern) for pattern in self.allow_images)

    def not_allowed_message(self, image: str) -> str:
        allowed = ", ".join(self.allow_images) or "none"
        return f"{image[:300]} is not allowed here (allowed: {allowed}; the agent's setting --allow-image)"

    def shares(self, name: str) -> bool:
        return name in SHARED or name in self.share_env

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Of the agent's variables those that deployments may have or ask for, and the hub's own switches."""
        kept = {*SHARED, *self.share_env, "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "VLLM_USE_MODELSCOPE"}
        return {name: value for name, value in environment.items() if name in kept}

    def allows_path(self, path: str) -> bool:
        return self.model_root is not None and lies_in(path.removeprefix("file://"), self.model_root)


def refusal(command: Deploy, policy: HostPolicy, uses_images: bool) -> str | None:
    """Why this host will not run `command` (the message of REFUSED_BY_HOST); None if it will.

    Without images (process engine) `image` is not looked at. Raises EngineError INVALID_CONFIG; UNSUPPORTED_BY_ENGINE
    for what only a container has.
    """
    asks = asked(command.config)
    if asks.keys and not uses_images:
        raise EngineError("UNSUPPORTED_BY_ENGINE", f"{asks.keys[0]}: this worker runs models as processes")
    refused = _refusal_of_container(asks, policy)
    if refused is not None:
        return refused
    if uses_images and command.image is not None and not policy.allows_image(command.image):
        return f"image: {policy.not_allowed_message(command.image)}"
    if is_path(command.model) and not policy.allows_path(command.model) and not is_below(command.model, *asks.targets):
        return f"model: {_outside(command.model, policy)}"
    if not is_path(command.model) and not (_HUB_ID.fullmatch(command.model) or _BUCKET.fullmatch(command.model)):
        return f"model: {command.model[:200]} is neither a Hugging Face id nor an absolute path"
    for name, value in command.env.items():
        if isinstance(value, FromHost) and not policy.shares(name):
            return f"env.{name}: this host does not share it (the agent's setting --share-env)"
        if _HOST_VARIABLES.fullmatch(name):
            return f"env.{name}: reaches beyond the model, to this host's own programs and devices"
        if _CACHE_VARIABLES.fullmatch(name) and not policy.shares(name) and not policy.allow_remote_code:
            return f"env.{name}: {_CACHE}"
    for given in given_flags(command.config):
        if given.value is not False and "download-dir".startswith(given.name):
            return f"{given.where}: {_CACHE}"
    if uses_images:
        return _refusal_of_code(command, policy, uses_images) or _refusal_of_paths(command, policy, asks)
    return _refusal_as_process(command, policy) or _refusal_of_code(command, policy, uses_images)


def _refusal_of_container(asks: Asked, policy: HostPolicy) -> str | None:
    if asks.entrypoint and not policy.allow_entrypoint:
        return "config.container_entrypoint: images run as they are here (the agent's setting --allow-entrypoint)"
    if asks.host_network and not policy.allow_host_network:
        return "config.container_network: not the host's network here (the agent's setting --allow-host-network)"
    for mount in asks.mounts:
        reason = policy.allows_mount(mount)
        if reason is not None:
            return f"{mount.where}: {reason}"
    return None


def _refusal_of_paths(command: Deploy, policy: HostPolicy, asks: Asked) -> str | None:
    """A container has no path of the host but those that are mounted: `config` names no other, nor does `env`, where
    folders that images have of their own are the image's.
    """
    for place in host_paths.in_config(command.config):
        if not _is_there(place, policy, asks):
            inside = "a file of the image is named from its folder, as examples/x.jinja"
            return f"{place.where}: {_outside(place.path, policy)}; {inside}"
    if policy.allow_remote_code:
        return None
    for place in host_paths.in_env(command.env):
        name = place.where.removeprefix("env.")
        if not (policy.shares(name) or is_below(place.path, *host_paths.SYSTEM) or _is_there(place, policy, asks)):
            return f"{place.where}: {_outside(place.path, policy)}; --share-env {name} lets it pass"
    return None


def _is_there(named: Named, policy: HostPolicy, asks: Asked) -> bool:
    in_image = is_below(named.path, *host_paths.OF_IMAGES, *asks.targets)
    return in_image or policy.allows_path(named.path)


def _refusal_of_code(command: Deploy, policy: HostPolicy, uses_images: bool) -> str | None:
    """What only an owner may allow, in containers too: they have the host's network and the model's credentials."""
    if policy.allow_remote_code:
        return None
    for name, value in command.env.items():
        if policy.shares(name) or name.startswith("MUSTER_"):  # the latter is refused as it is for every host
            continue
        reason = chosen_by_variable(name, value if isinstance(value, str) else "", in_container=uses_images)
        if reason is not None:
            return f"{reason} (the agent's settings --share-env {name} or --allow-remote-code)"
    reason = chosen_by_config(command.config, may_bring_code=uses_images)
    return None if reason is None else f"{reason} (the agent's setting --allow-remote-code)"


def _refusal_as_process(command: Deploy, policy: HostPolicy) -> str | None:
    for name in command.env:
        if _CODE_VARIABLES.fullmatch(name) and name not in policy.share_env:
            reason = "decides which code runs on this host, which has no containers to run it in"
            return f"env.{name}: {reason} (the agent's setting --share-env {name})"
    for place in (*host_paths.in_config(command.config), *host_paths.in_env(command.env)):
        if not policy.allows_path(place.path):
            return f"{place.where}: {_outside(place.path, policy)}"
    return None


def named(images: Iterable[Image], reference: str) -> Image | None:
    """The image that Docker takes `reference` for: a tag, a digest, an id or the beginning of one."""
    wanted, begun = {_short(reference), f"{_short(reference)}:latest"}, None
    for image in images:
        if wanted & {_short(name) for name in (*image.tags, *image.digests)}:
            return image
        if image.id.startswith(reference) or image.id.startswith(f"sha256:{reference}"):
            begun = image
    return begun


def is_path(text: str) -> bool:
    """Whether vLLM would read `text` as a place on this host: no hub id has such a beginning or such a part."""
    return text.startswith(("/", ".", "~", "file:")) or ".." in text.split("/")


def _outside(path: str, policy: HostPolicy) -> str:
    if policy.model_root is None:
        return f"{path[:200]} is a local path, and this host allows none (the agent's setting --model-root)"
    return f"{path[:200]} is not below {policy.model_root} (the agent's setting --model-root)"


def _matches(reference: str, pattern: str) -> bool:
    reference, pattern = _short(reference), _short(pattern)
    if _repository(pattern) != pattern:
        return fnmatchcase(reference, pattern)
    return fnmatchcase(_repository(reference), pattern)


def _short(reference: str) -> str:
    """Docker Hub goes without saying, and so does its `library`."""
    for prefix in ("index.docker.io/", "docker.io/"):
        reference = reference.removeprefix(prefix)
    return reference.removeprefix("library/")


def _repository(reference: str) -> str:
    """`registry:5000/a/b:tag@sha256:…` without the tag and the digest."""
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]
