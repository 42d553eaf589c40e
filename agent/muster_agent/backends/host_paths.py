"""Paths of the host that a deployment names in `config` and `env`: the one place that looks for them.

A path is the whole value of a flag, what follows `name=` (`--lora-modules sql=/data/sql`), one of several words, or a
text at any depth of an object, also where the object is written as JSON.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from muster.api.messages import FromHost
from muster_agent.backends.given_flags import given_flags

NAMES_NO_FILE = frozenset(
    {
        *("served-model-name", "root-path", "response-role", "ignore-patterns", "otlp-traces-endpoint"),
        *("allowed-origins", "allowed-methods", "allowed-headers", "allowed-media-domains"),
        *("default-chat-template-kwargs", "chat-template-kwargs", "override-generation-config", "reasoning-config"),
    }
)
"""Flags whose value may begin with a slash (`root_path: /v1`, a prompt `/no_think`), and which read no file."""

HUB_CACHE = "/root/.cache/huggingface/hub"
"""Where containers have the host's cache of weights."""
OF_IMAGES = ("/vllm-workspace", HUB_CACHE)
"""What every container of vLLM has: the folder of the image with its examples, and the cache."""
SYSTEM = (
    *("/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/proc", "/root"),
    *("/run", "/sbin", "/sys", "/tmp", "/usr", "/var"),
)
"""Folders that an image has of its own. A variable that names one of them means the image's."""

_NAMED = re.compile(r"^[^=]*=(?=/|~|\.\.?/|file:)")
_WORDS = re.compile(r"[\s,;]+")


class Named(NamedTuple):
    """Where a path is named, and the path as it is written there."""

    where: str
    path: str


def in_config(config: Mapping[str, Any]) -> Iterator[Named]:
    """Yields what vLLM may take for a path. Raises EngineError INVALID_CONFIG."""
    for where, name, value in given_flags(config):
        if name not in NAMES_NO_FILE:
            yield from in_value(value, where)


def in_env(env: Mapping[str, str | FromHost]) -> Iterator[Named]:
    for name, value in env.items():
        if isinstance(value, str):
            yield from in_value(value, f"env.{name}")
            if value.startswith("/") and ":" in value:  # as PATH has them
                yield from (Named(f"env.{name}", part) for part in value.split(":")[1:] if looks_like_path(part))


def in_value(value: Any, where: str) -> Iterator[Named]:
    """Yields the paths in a JSON value, each with its place."""
    if isinstance(value, str):
        yield from (Named(where, place) for place in dict.fromkeys(_places(value)) if looks_like_path(place))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from in_value(item, f"{where}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from in_value(item, f"{where}.{key[:140]}")


def looks_like_path(text: str) -> bool:
    """Whether `text` names a place outside of the folder that a model runs in. Names in that folder are its own."""
    return text.startswith(("/", "./", "../", "~", "file:")) or ".." in text.split("/")


def plain(path: str) -> str:
    """`path` without `file://`, and without `.`, `..` and doubled slashes."""
    bare = path.removeprefix("file:")
    bare = bare.removeprefix("//") if bare.startswith("///") else bare
    clean = posixpath.normpath(bare)
    return f"/{clean.lstrip('/')}" if clean.startswith("/") else clean


def is_below(path: str, *folders: str) -> bool:
    """Whether `path`, as it is written, is one of `folders` or inside of one."""
    clean = plain(path)
    return any(clean == folder or clean.startswith(f"{folder.rstrip('/')}/") for folder in folders)


def _places(text: str) -> Iterator[str]:
    """The parts of `text` that vLLM may take for a path."""
    yield from (text, text.partition("=")[2], text.rpartition("=")[2])
    words = [_NAMED.sub("", word) for word in _WORDS.split(text) if word]
    if all(map(looks_like_path, words)):  # a list of paths, while a prompt or a template has any words in it
        yield from words
    begins = re.search(r"[{\[]", text)
    if begins:
        try:
            inner = json.loads(text[begins.start() :])
        except (ValueError, RecursionError):
            return  # nor does vLLM make anything of it
        if isinstance(inner, dict | list):
            yield from (found.path for found in in_value(inner, ""))
