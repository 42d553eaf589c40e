"""One supervised process: a folder that says all about it, and the group that runs under shim.py.

    instance.json   labels, id and boot; written before anything runs. No environment: that may hold secrets
    pid             the leader's pid and start, then the command's pid       written by the shim
    log, log.1      output behind the times it came at, at most 64 MiB       written by the shim
    exit            exit code, and 1 if the kernel killed for memory         written by the shim, or by `stop`

The agent may be killed at any point. The process is found again by pid and start; where the agent died before the shim
had written them, by the variable MUSTER_INSTANCE in its environment. Where somebody deleted the folder, it is made
again from MUSTER_RECORD, which has what instance.json had.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from muster_agent.engines.base import EngineError
from muster_agent.engines.log_lines import Line, backwards
from muster_agent.host import facts

T = TypeVar("T")

MARK, RECORD = "MUSTER_INSTANCE", "MUSTER_RECORD"
SHIM = Path(__file__).with_name("shim.py")
LAUNCH_SECONDS = 10.0
KILL_SECONDS = 10.0
"""What SIGKILL needs at most; longer takes only what hangs in the kernel, as on a lost GPU."""


class Record(msgspec.Struct, frozen=True):
    """`boot` is the boot of the machine that pids belong to."""

    id: str
    labels: dict[str, str]
    boot: str


class Pids(msgspec.Struct, frozen=True, array_like=True):
    """`start` in ticks since boot; `command` is 0 until the shim has started it."""

    leader: int
    start: int
    command: int = 0


class Exit(msgspec.Struct, frozen=True, array_like=True):
    code: int
    oom: int = 0


@dataclass(frozen=True)
class Supervised:
    """`created` in epoch seconds."""

    folder: Path
    record: Record
    created: float

    @classmethod
    def load(cls, folder: Path) -> Supervised | None:
        """None also for a folder whose making was interrupted: nothing has run in it."""
        path = folder / "instance.json"
        try:
            return cls(folder, msgspec.json.decode(path.read_bytes(), type=Record), path.stat().st_mtime)
        except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
            return None

    @classmethod
    def create(cls, folder: Path, labels: dict[str, str]) -> Supervised:
        """Raises FileExistsError: of several who want the same folder, one gets it."""
        folder.mkdir(mode=0o700)
        record, path = Record(uuid.uuid4().hex, labels, facts.boot_id()), folder / "instance.json"
        _put(path, msgspec.json.encode(record))
        return cls(folder, record, path.stat().st_mtime)

    @classmethod
    def again(cls, parent: Path) -> list[Supervised]:
        """Those that run without their record below `parent`, since somebody deleted it: it is written again."""
        return [
            cls._rewrite(Path(folder), record)
            for folder, record in _shims()
            if Path(folder).parent == parent and cls.load(Path(folder)) is None
        ]

    @classmethod
    def _rewrite(cls, folder: Path, record: Record) -> Supervised:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        leader, *others = facts.marked(MARK, record.id) or [0]
        pids = Pids(leader, facts.start_ticks(leader) or 0, others[0] if others else 0)
        _put(folder / "pid", msgspec.json.encode(pids))
        _put(path := folder / "instance.json", msgspec.json.encode(record))
        return cls(folder, record, path.stat().st_mtime)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def pids(self) -> Pids | None:
        return self._read("pid", Pids)

    @property
    def ended(self) -> Exit | None:
        return self._read("exit", Exit)

    def launch(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Returns when the shim runs. Raises EngineError INVALID_CONFIG, CONTAINER_FAILED."""
        try:
            os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", str(SHIM), str(self.folder), *command],
                {**env, MARK: self.record.id, RECORD: msgspec.json.encode(self.record).decode()},
                file_actions=[(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)],
                setsid=True,
                setsigmask=(),
            )
        except ValueError as error:  # a NUL in a value, a `=` in a name
            raise EngineError("INVALID_CONFIG", f"config or env: {error}") from error
        except OSError as error:  # too long, too many processes, no memory
            raise EngineError("CONTAINER_FAILED", f"cannot start a process: {error.strerror}") from error
        if not _within(LAUNCH_SECONDS, lambda: self.pids is not None, every=0.005):
            raise EngineError("CONTAINER_FAILED", f"the supervisor did not start within {LAUNCH_SECONDS:.0f} s")

    def alive(self) -> bool:
        leader = self._leader()
        if leader is None and self.ended is not None:
            return False  # the shim's last act was to end its group
        return leader is not None or bool(facts.marked(MARK, self.record.id))

    def stop(self, grace: float) -> None:
        """SIGTERM to all of it, SIGKILL after `grace` seconds. Raises EngineError CONTAINER_FAILED if it lives on."""
        if self.alive():
            self._signal(signal.SIGTERM)
            if not _within(grace, self._is_gone):
                self.kill()
        if self.ended is None:
            _put(self.folder / "exit", b"[137]")

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        if not _within(KILL_SECONDS, self._is_gone):
            raise EngineError("CONTAINER_FAILED", f"{self.name} does not even end on SIGKILL")

    def forget(self) -> None:
        """Out of sight first, so that nobody finds half of it."""
        gone = self.folder.with_name(f".{self.record.id}")
        with suppress(FileNotFoundError):  # somebody else was quicker
            self.folder.rename(gone)
            shutil.rmtree(gone)

    def log(self) -> Iterator[Line]:
        return backwards(self.folder / "log")

    def size(self) -> int:
        return sum(file.stat().st_size for file in self.folder.iterdir() if file.is_file())

    def _leader(self) -> int | None:
        """The shim's pid while it lives. A pid that another process got, or of another boot, is not it."""
        pids = self.pids
        if pids is None or self.record.boot != facts.boot_id():
            return None
        if facts.start_ticks(pids.leader) == pids.start:
            return pids.leader
        facts.reap_group(pids.leader)
        return None

    def _is_gone(self) -> bool:
        """Nothing of it lives, not even what left its group."""
        return self._leader() is None and not facts.marked(MARK, self.record.id)

    def _signal(self, number: signal.Signals) -> None:
        leader = self._leader()
        if leader is not None:
            with suppress(ProcessLookupError):
                os.killpg(leader, number)
        for pid in facts.marked(MARK, self.record.id):
            with suppress(ProcessLookupError):
                if leader is None or os.getpgid(pid) != leader:
                    os.kill(pid, number)

    def _read(self, name: str, shape: type[T]) -> T | None:
        try:
            return msgspec.json.decode((self.folder / name).read_bytes(), type=shape)
        except (FileNotFoundError, msgspec.DecodeError):
            return None


def _shims() -> Iterator[tuple[str, Record]]:
    """The folder and the record of each that runs."""
    for _, words, environ in facts.running(str(SHIM)):
        with suppress(IndexError, msgspec.DecodeError):  # somebody else's, or an older agent's
            folder = words[words.index(str(SHIM)) + 1]
            yield folder, msgspec.json.decode(environ.get(RECORD, ""), type=Record)


def _put(path: Path, content: bytes) -> None:
    """A reader sees all of it or nothing, also after a power cut."""
    fresh = path.with_suffix(".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)


def _within(seconds: float, done: Callable[[], bool], every: float = 0.05) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= end:
            return False
        time.sleep(every)
    return True
