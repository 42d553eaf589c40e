"""What the host's owner allows, whatever the control plane asks for. Docker is never asked to be privileged at all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from agent.engines import EngineError, Mount
from agent.remote_code import chosen_by_config, chosen_by_variable
from chalicelib.contract.messages import Deploy, FromHost, Image

CONTAINER_HUB_CACHE = "/root/.cache/huggingface/hub"
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


@dataclass(frozen=True)
class HostPolicy:
    """`allow_images` are patterns over an image's repository (`vllm/vllm-openai`, `registry.example/*`); one with a tag
    or a digest is matched against the whole reference. Local weights are allowed below `model_root` alone. `hub_cache`
    is where downloaded weights are kept, in Hugging Face's layout. `default_image` runs where a deployment names none,
    and is allowed as what the owner chose. `share_env` are variables that deployments may set, or take of the agent by
    `from_host`, besides those that all get. `allow_remote_code` lets deployments choose what code their
    models run, and which other hosts they talk to; without it a model brings code of its own in containers alone.
    """

    allow_images: tuple[str, ...] = ("vllm/vllm-openai",)
    model_root: Path | None = None
    hub_cache: Path | None = None
    default_image: str = TESTED_IMAGE
    share_env: tuple[str, ...] = ()
    allow_remote_code: bool = False

    def location(self, model: str) -> str:
        """What vLLM is told to load: a path with its symlinks resolved, or the name as it is.

        Raises EngineError REFUSED_BY_HOST: where a link leads may have changed since the command was looked at.
        """
        if not is_path(model):
            return model
        resolved = str(Path(model).resolve())
        if not self.allows_path(resolved):
            raise EngineError("REFUSED_BY_HOST", f"model: {_outside(model, self)}")
        return resolved

    def mounts(self, model: str) -> Iterator[Mount]:
        """What a container sees of the host: the cache of weights, and the owner's own where they are asked for."""
        if self.hub_cache is not None:
            yield Mount(self.hub_cache.resolve(), CONTAINER_HUB_CACHE, read_only=False)
        if self.model_root is not None and is_path(model):
            root = self.model_root.resolve()
            yield Mount(root, str(root), read_only=True)

    def allows_image(self, reference: str) -> bool:
        return reference == self.default_image or any(_matches(reference, each) for each in self.allow_images)

    def told_not_allowed(self, image: str) -> str:
        allowed = ", ".join(self.allow_images) or "none"
        return f"{image[:300]} is not allowed here (allowed: {allowed}; the agent's setting --allow-image)"

    def shares(self, name: str) -> bool:
        return name in SHARED or name in self.share_env

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Of the agent's variables those that deployments may have or ask for, and the hub's own switches."""
        kept = {*SHARED, *self.share_env, "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "VLLM_USE_MODELSCOPE"}
        return {name: value for name, value in environment.items() if name in kept}

    def allows_path(self, path: str) -> bool:
        if self.model_root is None or not path.startswith("/") or "\0" in path:
            return False
        return Path(path).resolve().is_relative_to(self.model_root.resolve())


def refusal(command: Deploy, policy: HostPolicy, uses_images: bool) -> str | None:
    """Why this host will not run `command` (the message of REFUSED_BY_HOST); None if it will.

    Without images (process engine) `image` is not looked at, and every path counts, since vLLM then sees the host's own
    files; in a container the rest of the file system is the container's.
    """
    if uses_images and command.image is not None and not policy.allows_image(command.image):
        return f"image: {policy.told_not_allowed(command.image)}"
    if is_path(command.model) and not policy.allows_path(command.model):
        return f"model: {_outside(command.model, policy)}"
    if not is_path(command.model) and not (_HUB_ID.fullmatch(command.model) or _BUCKET.fullmatch(command.model)):
        return f"model: {command.model[:200]} is neither a Hugging Face id nor an absolute path"
    for name, value in command.env.items():
        if isinstance(value, FromHost) and not policy.shares(name):
            return f"env.{name}: this host does not share it (the agent's setting --share-env)"
        if _HOST_VARIABLES.fullmatch(name):
            return f"env.{name}: reaches beyond the model, to this host's own programs and devices"
    as_process = None if uses_images else _refusal_as_process(command, policy)
    return as_process or _refusal_of_code(command, policy, uses_images)


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
    for where, text in (*_strings(command.config, "config"), *_strings(command.env, "env")):
        for place in _places(text):
            if is_path(place) and not policy.allows_path(place):
                return f"{where}: {_outside(place, policy)}"
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


def _places(text: str) -> Iterator[str]:
    """What vLLM may take for a path in `text`: all of it, what follows a `=` (`--flag=/path`, `name=/path`), and every
    text in JSON, which objects may be written as.
    """
    yield from {text, text.partition("=")[2], text.rpartition("=")[2]}
    begins = re.search(r"[{\[]", text)
    if begins:
        try:
            inner = msgspec.json.decode(text[begins.start() :])
        except (ValueError, RecursionError):
            return  # nor does vLLM make anything of it
        yield from (each for _, each in _strings(inner, ""))


def _strings(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every string in a JSON value, with its place."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _strings(each, f"{where}[{index}]")
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _strings(each, f"{where}.{key}")


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
