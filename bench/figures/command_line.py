"""Processor time of commands that people and scripts run often, beside what Python and requests need alone."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import tomllib

from bench.figure import Comparison, Figure, Metric, Say, Subject
from bench.peers import Bench
from bench.servers import ADMIN_KEY, Muster

METRICS = (Metric("cpu", "ms of CPU"), Metric("wall", "ms"))
CASES = ("--version", "ps")
WORKERS = 20


class Command(Subject):
    """A process that is started anew `times` times; its time is the mean, so that ticks do not count."""

    times = 5

    def __init__(
        self, name: str, words: Callable[[str], list[str]], environment: dict[str, str], folder: Path | None = None
    ) -> None:
        """`folder` is where it runs: `python -c` imports from there before anything else."""
        self.name, self._folder = name, folder
        self._words, self._environment = words, environment

    def start(self, say: Say) -> None:
        self._run(self._words(CASES[0]))

    def measure(self, case: str) -> dict[str, float]:
        words = self._words(case)
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        for _ in range(self.times):
            self._run(words)
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {"cpu": 1000 * busy / self.times, "wall": 1000 * wall / self.times}

    def _run(self, words: list[str]) -> None:
        done = subprocess.run(words, cwd=self._folder, env=self._environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words[1:])}: {done.stderr[-500:]}")


def entry(checkout: Path) -> str:
    """What the installed program `muster` of a checkout executes."""
    scripts = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["muster"].partition(":")
    return f"import sys; sys.argv[0] = 'muster'; from {module} import {function}; sys.exit({function}())"


class Cli(Command):
    """The command line of a checkout. `ps` asks a control plane, which is not counted."""

    def __init__(self, name: str, checkout: Path, python: Path, server: SharedServer) -> None:
        program = entry(checkout)
        path = os.pathsep.join([str(checkout), str(checkout / "agent")])
        environment = {"PYTHONPATH": path, "PATH": os.environ["PATH"], "HOME": str(server.folder)}
        super().__init__(name, lambda case: [str(python), "-c", program, case], environment, server.folder)
        self._server = server

    def start(self, say: Say) -> None:
        self._environment |= {"MUSTER_URL": self._server.url(say), "MUSTER_API_KEY": ADMIN_KEY}
        super().start(say)

    def stop(self) -> None:
        self._server.stop()


class Interpreter(Command):
    """The floors; each is measured in every case, beside the commands."""

    def __init__(self, name: str, python: Path) -> None:
        code = name.removeprefix("python -c ").strip('"')
        super().__init__(name, lambda case: [str(python), "-c", code], {"PATH": os.environ["PATH"]})


class SharedServer:
    """One control plane with a few workers for all command lines."""

    def __init__(self, folder: Path, bench: Bench) -> None:
        self.folder = folder
        self._server = Muster(folder, python=bench.python)

    def url(self, say: Say) -> str:
        if self._server.process is None:
            self._server.start()
            self._server.register(WORKERS)
        return f"http://127.0.0.1:{self._server.port}"

    def stop(self) -> None:
        self._server.stop()


def figure(bench: Bench) -> Figure:
    server = SharedServer(bench.fresh("command-line"), bench)
    plain, requests = "python -c pass", 'python -c "import requests"'
    subjects: list[Subject] = [
        Cli(name, checkout, python, server) for name, (checkout, python) in bench.checkouts().items()
    ]
    subjects += [Interpreter(name, bench.python) for name in (plain, requests)]
    others = [bench.reference_name] if bench.reference else []
    return Figure(
        name="command-line",
        title="The command line",
        text=f"`muster --version`, and `muster ps` on a control plane with {WORKERS} workers; each process is new.",
        cases=CASES,
        metrics=METRICS,
        subjects=subjects,
        comparisons=[Comparison("cpu", "Muster", other) for other in (*others, plain, requests)],
    )
