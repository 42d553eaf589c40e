"""What the host's owner allows, whatever the control plane asks for. Docker is never asked to be privileged at all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from agent.engines import Mount
from chalicelib.contract.messages import Deploy

CONTAINER_HUB_CACHE = "/root/.cache/huggingface/hub"
TESTED_IMAGE = "vllm/vllm-openai:v0.32.0"
"""The release of vLLM that `make e2e-vllm` runs. A moving tag would be another program after each pull."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?(?::[\w.-]+)?", re.ASCII)
_BUCKET = re.compile(r"(?:s3|gs|az)://[A-Za-z0-9][\w./-]*", re.ASCII)
# Variables that decide which code a process runs. In a container they are the container's affair.
_CODE_VARIABLES = re.compile(r"PATH|LD_\w+|PYTHON\w*|BASH_ENV|ENV", re.ASCII)


@dataclass(frozen=True)
class HostPolicy:
    """`allow_images` are patterns over an image's repository (`vllm/vllm-openai`, `registry.example/*`); one with a tag
    or a digest is matched against the whole reference. Local weights are allowed below `model_root` alone. `hub_cache`
    is where downloaded weights are kept, in Hugging Face's layout. `default_image` runs where a deployment names none,
    and is allowed as what the owner chose.
    """

    allow_images: tuple[str, ...] = ("vllm/vllm-openai",)
    model_root: Path | None = None
    hub_cache: Path | None = None
    default_image: str = TESTED_IMAGE

    def location(self, model: str) -> str:
        """What vLLM is told to load: a path with its symlinks resolved, or the name as it is."""
        return str(Path(model).resolve()) if is_path(model) else model

    def mounts(self, model: str) -> Iterator[Mount]:
        """What a container sees of the host: the cache of weights, and the owner's own where they are asked for."""
        if self.hub_cache is not None:
            yield Mount(self.hub_cache.resolve(), CONTAINER_HUB_CACHE, read_only=False)
        if self.model_root is not None and is_path(model):
            root = self.model_root.resolve()
            yield Mount(root, str(root), read_only=True)

    def allows_image(self, reference: str) -> bool:
        return reference == self.default_image or any(_matches(reference, each) for each in self.allow_images)

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
        allowed = ", ".join(policy.allow_images) or "none"
        return f"image: {command.image} is not allowed here (allowed: {allowed}; the agent's setting --allow-image)"
    if is_path(command.model) and not policy.allows_path(command.model):
        return f"model: {_outside(command.model, policy)}"
    if not is_path(command.model) and not (_HUB_ID.fullmatch(command.model) or _BUCKET.fullmatch(command.model)):
        return f"model: {command.model[:200]} is neither a Hugging Face id nor an absolute path"
    return None if uses_images else _refusal_as_process(command, policy)


def _refusal_as_process(command: Deploy, policy: HostPolicy) -> str | None:
    for name in command.env:
        if _CODE_VARIABLES.fullmatch(name):
            return f"env.{name}: decides which code runs on this host, which has no containers to run it in"
    for where, text in _strings(command.config, "config"):
        # `--flag=/path` hides a path as well as `/path` does.
        path = text.rpartition("=")[2] if text.startswith("-") else text
        if is_path(path) and not policy.allows_path(path):
            return f"{where}: {_outside(path, policy)}"
    return None


def is_path(text: str) -> bool:
    """Whether vLLM would read `text` as a place on this host: no hub id has such a beginning or such a part."""
    return text.startswith(("/", ".", "~", "file:")) or ".." in text.split("/")


def _outside(path: str, policy: HostPolicy) -> str:
    if policy.model_root is None:
        return f"{path[:200]} is a local path, and this host allows none (the agent's setting --model-root)"
    return f"{path[:200]} is not below {policy.model_root} (the agent's setting --model-root)"


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
