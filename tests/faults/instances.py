"""The models that run on this machine for one host, as the kernel shows them: a witness that asks nothing of Muster."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from muster_agent.engines.process.supervisor import MARK as INSTANCE
from tests.fixtures.agent_process import MARK as HOST

SLOT = "STANDIN_SLOT"
"""Deployments that are watched have this in their environment, each another one."""
LOOK_EVERY = 0.03


@dataclass(frozen=True)
class Model:
    """`instance` is Muster's id of it, `slot` the test's name of its deployment, `seed` its flag of that name."""

    pid: int
    started: str
    instance: str
    slot: str
    seed: int | None

    def lives(self) -> bool:
        return _started(self.pid) == self.started


def models_of(folder: Path) -> list[Model]:
    """Those that an agent of that folder started, whichever of its lives that was in."""
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            with suppress(OSError):  # others come and go
                found += _model(int(each.name), str(folder))
    return found


def supervisors_of(folder: Path) -> int:
    """How many of agent/muster_agent/engines/process/shim.py run for it."""
    count = 0
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            with suppress(OSError):
                words = (each / "cmdline").read_bytes().split(b"\0")
                count += any(word.endswith(b"/shim.py") for word in words[:5]) and _env(each, HOST) == str(folder)
    return count


def _model(pid: int, folder: str) -> list[Model]:
    process = Path("/proc") / str(pid)
    words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    if len(words) < 2 or not words[1].endswith(("fake_vllm.py", "standin.py")):
        return []
    started = _started(pid)
    if started is None or _env(process, HOST) != folder:
        return []
    seed = int(words[words.index("--seed") + 1]) if "--seed" in words else None
    return [Model(pid, started, _env(process, INSTANCE) or "", _env(process, SLOT) or "", seed)]


def _env(process: Path, name: str) -> str | None:
    for entry in (process / "environ").read_bytes().split(b"\0"):
        key, _, value = entry.partition(b"=")
        if key.decode(errors="replace") == name:
            return value.decode(errors="replace")
    return None


def _started(pid: int) -> str | None:
    """In ticks since boot; None for one that has ended, if only its parent has not heard of it yet."""
    with suppress(OSError):
        fields = (Path("/proc") / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    return None


@dataclass
class Watch:
    """Looks all the time for a slot with two models. A context."""

    folder: Path
    looks: int = 0
    most: int = 0
    doubles: list[tuple[Model, ...]] = field(default_factory=list)

    def __enter__(self) -> Watch:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            seen = models_of(self.folder)
            self.looks += 1
            self.most = max(self.most, len(seen))
            for slot, count in Counter(each.slot for each in seen).items():
                those = tuple(each for each in seen if each.slot == slot)
                # Looking takes a moment: two that were seen one after another were there together if both still are.
                if count > 1 and all(each.lives() for each in those):
                    self.doubles.append(those)
            self._over.wait(LOOK_EVERY)
