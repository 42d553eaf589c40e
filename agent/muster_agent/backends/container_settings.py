"""What a deployment asks of its container beside its image: the keys `container_…` of `config`, which vLLM never sees.

Only the host's owner allows any of it: see `policy`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muster_agent.backends.given_flags import is_reserved, sendable
from muster_agent.backends.host_paths import HUB_CACHE, SYSTEM, is_below, plain
from muster_agent.engines.base import EngineError

_KERNEL = ("/dev", "/proc", "/sys")
_CACHES = ("/root/.cache", "/var/cache", "/tmp", "/home", "/var/lib", "/var/tmp")
"""Folders below SYSTEM from which nothing is run."""


@dataclass(frozen=True)
class AskedMount:
    """`source` of the host at `target` of the container; `where` is the setting that asks for it."""

    where: str
    source: Path
    target: str
    read_only: bool


@dataclass(frozen=True)
class Asked:
    """Nothing at all, where a deployment does not say otherwise."""

    entrypoint: tuple[str, ...] = ()
    mounts: tuple[AskedMount, ...] = ()
    host_network: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The settings that ask for something."""
        asked = (("entrypoint", self.entrypoint), ("mounts", self.mounts), ("network", self.host_network))
        return tuple(f"config.container_{name}" for name, value in asked if value)

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(mount.target for mount in self.mounts)


def asked(config: Mapping[str, Any]) -> Asked:
    """What `config` asks for. Raises EngineError INVALID_CONFIG, naming the key."""
    given = {key.replace("-", "_"): value for key, value in config.items() if is_reserved(key) and value is not None}
    return Asked(
        tuple(_entrypoint(given.get("container_entrypoint"))),
        tuple(_mounts(given.get("container_mounts"))),
        _is_host_network(given.get("container_network")),
    )


def covers_programs(target: str) -> bool:
    """Whether a mount at `target` is among what images run."""
    return is_below(target, *SYSTEM, "/vllm-workspace") and not is_below(target, *_CACHES)


def _entrypoint(value: Any) -> Iterator[str]:
    where = "config.container_entrypoint"
    if value is None or value == []:
        return
    try:
        words = shlex.split(value) if isinstance(value, str) else value
    except ValueError as error:
        raise EngineError("INVALID_CONFIG", f"{where}: {error}") from error
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or not words or not words[0]:
        raise _invalid(where, 'expected a program with its first arguments, as ["python3", "-m", "my.server"]')
    yield from (sendable(where, word) for word in words)


def _mounts(value: Any) -> Iterator[AskedMount]:
    if value is None:
        return
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list):
        raise _invalid("config.container_mounts", "expected a list of SOURCE:TARGET[:ro]")
    targets: list[str] = []
    for index, entry in enumerate(given):
        found = _mount(f"config.container_mounts[{index}]", entry)
        if found.target in targets:
            raise _invalid(found.where, f"{found.target} is the target of another mount: choose another")
        targets.append(found.target)
        yield found


def _mount(where: str, text: Any) -> AskedMount:
    parts = text.split(":") if isinstance(text, str) else []
    if not 2 <= len(parts) <= 3 or parts[2:] not in ([], ["ro"], ["rw"]):
        raise _invalid(where, f"expected SOURCE:TARGET[:ro], got {str(text)[:200]!r}")
    source, target = parts[:2]
    sendable(where, text)
    if not source.startswith("/") or not target.startswith("/"):
        raise _invalid(where, f"expected absolute paths on both sides of the colon, got {text[:200]!r}")
    clean = plain(target)
    if clean == "/" or is_below(clean, *_KERNEL) or ".." in target.split("/"):
        raise _invalid(where, f"{target[:200]} cannot be the target of a mount: choose another folder")
    if is_below(clean, HUB_CACHE) or is_below(HUB_CACHE, clean):
        raise _invalid(where, f"the host's cache of weights is mounted at {HUB_CACHE} already: leave this out")
    return AskedMount(where, Path(source), clean, parts[2:] == ["ro"])


def _is_host_network(value: Any) -> bool:
    if value not in (None, "host", "bridge"):
        raise _invalid("config.container_network", f"expected host or bridge (the default), got {value!r:.80}")
    return bool(value == "host")


def _invalid(where: str, message: str) -> EngineError:
    return EngineError("INVALID_CONFIG", f"{where}: {message}")
