"""Runs a module's own tests once for each mutation, in a process that is forked for it.

The parent has imported pytest and everything that is not ours, so that a run costs what its tests do. No module of ours
is imported there: each child imports them afresh, and the mutated one from the mutation's source.
"""

from __future__ import annotations

import importlib
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from tests.mutation.mutations import Mutation

OURS = ("app", "chalicelib", "infra", "muster", "muster_agent", "tests")
PASSED, FAILED = 0, 1
UNFINISHED = 300
"""Seconds after which a run that waits for what never comes is ended; a run that computes is ended by its CPU time."""


class TestsFailed(Exception):
    """The tests fail without any mutation, so that they prove nothing."""


def survives(module: str, tests: str, mutations: Iterable[Mutation], jobs: int) -> Iterator[tuple[Mutation, bool]]:
    """Each mutation of the module at this path, and whether its tests pass in spite of it. Raises TestsFailed."""
    seconds = _baseline(module, tests)
    limit = int(20 + 20 * seconds)
    running: dict[int, Mutation] = {}
    for mutation in mutations:
        while len(running) >= jobs:
            yield _ended(running)
        running[_fork(module, tests, mutation.source, limit)] = mutation
    while running:
        yield _ended(running)


def _ended(running: dict[int, Mutation]) -> tuple[Mutation, bool]:
    pid, status = os.wait()
    return running.pop(pid), os.waitstatus_to_exitcode(status) == PASSED


def _baseline(module: str, tests: str) -> float:
    """Import what the tests need from elsewhere; the seconds of CPU time that they take as the module is."""
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "modules"
        source = Path(module).read_text()
        _, status = os.waitpid(_fork(module, tests, source, 600, names), 0)
        if os.waitstatus_to_exitcode(status) != PASSED:
            raise TestsFailed(f"{tests} fails without a mutation")
        for name in names.read_text().split():
            with suppress(Exception):  # a module that cannot be imported by itself is left to the child
                importlib.import_module(name)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    os.waitpid(_fork(module, tests, source, 600), 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _fork(module: str, tests: str, source: str, limit: int, names: Path | None = None) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = FAILED
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        signal.alarm(UNFINISHED)
        status = _tested(module, tests, source, names)
    finally:
        os._exit(status)


def _tested(module: str, tests: str, source: str, names: Path | None) -> int:
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Mutated(module, source))
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w+b") as nowhere:
        for descriptor in range(3):
            os.dup2(nowhere.fileno(), descriptor)
        status = pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={folder}/t", tests])
    if names is not None:
        found = [name for name in sorted(sys.modules) if name.partition(".")[0] not in OURS and name != "__main__"]
        names.write_text("\n".join(found))
    return int(status)


class _Mutated(MetaPathFinder, Loader):
    """Finds one module, whose source is the mutated one."""

    def __init__(self, module: str, source: str) -> None:
        name = module.removesuffix(".py").removeprefix("agent/").replace("/", ".")
        self._name = name.removesuffix(".__init__")
        self._path = str(Path(module).absolute())
        self._source = source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        return spec_from_loader(fullname, self, origin=self._path, is_package=self._path.endswith("__init__.py"))

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = self._path
        exec(compile(self._source, self._path, "exec"), module.__dict__)
