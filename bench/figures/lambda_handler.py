"""What tests/infra/cloud/measure_lambda.py measures: the archive on Lambda beside botocore alone."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from bench.figure import Comparison, Figure, Metric, Subject
from bench.peers import Bench
from bench.servers import NotMeasured

METRICS = (Metric("cpu", "ms of CPU", places=2), Metric("ratio", "times botocore alone", places=2))
CASES = ("cold import", "idle heartbeat")
LINE = re.compile(r"^(cold import|idle heartbeat), .*?([0-9.]+) botocore alone\s+([0-9.]+) ours", re.MULTILINE)


def parsed(output: str) -> dict[str, tuple[float, float]]:
    """Milliseconds of botocore alone and of Muster, by case."""
    return {case: (float(bare), float(ours)) for case, bare, ours in LINE.findall(output)}


class Turns:
    """One run measures all cases of both subjects; each subject takes its part of it."""

    def __init__(self, checkout: Path, python: Path, rounds: int) -> None:
        self._checkout, self._python, self._rounds = checkout, python, rounds
        self._waiting: dict[tuple[str, int], dict[str, float]] = {}

    def take(self, case: str, part: int) -> dict[str, float]:
        """`part`: 0 for botocore alone, 1 for Muster. Raises NotMeasured where the emulated database is missing."""
        if (case, part) not in self._waiting:
            self._run()
        return self._waiting.pop((case, part))

    def _run(self) -> None:
        command = [str(self._python), "-m", "tests.infra.cloud.measure_lambda"]
        path = os.pathsep.join([str(self._checkout), str(self._checkout / "agent")])
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MUSTER_"))}
        environment = inherited | {"ROUNDS": str(self._rounds), "PYTHONPATH": path}
        done = subprocess.run(command, cwd=self._checkout, env=environment, capture_output=True, text=True)
        found = parsed(done.stdout)
        if set(found) != set(CASES):
            last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it printed nothing"]
            raise NotMeasured(f"measure_lambda failed: {last[0][:200]}")
        for case, (bare, ours) in found.items():
            self._waiting[case, 0], self._waiting[case, 1] = {"cpu": bare}, {"cpu": ours, "ratio": ours / bare}


class Part(Subject):
    def __init__(self, name: str, turns: Turns, part: int) -> None:
        self.name = name
        self._turns, self._part = turns, part

    def measure(self, case: str) -> dict[str, float]:
        return self._turns.take(case, self._part)


def figure(bench: Bench) -> Figure:
    rounds = 2 if bench.scale.quick else 5
    subjects: list[Subject] = []
    for name, (checkout, python) in bench.checkouts().items():
        turns = Turns(checkout, python, rounds)
        bare = "botocore alone" if name == "Muster" else f"botocore alone, {name}"
        subjects += [Part(bare, turns, 0), Part(name, turns, 1)]
    others = ["botocore alone", *([bench.reference_name] if bench.reference else [])]
    return Figure(
        name="lambda",
        title="The handler on Lambda",
        text=(
            "Processor time of the unpacked archive, on this machine, with the database in another process: importing "
            "the handler beside `import botocore.session`, and an idle heartbeat beside the one UpdateItem in it."
        ),
        cases=CASES,
        metrics=METRICS,
        subjects=subjects,
        comparisons=[
            *(Comparison("cpu", "Muster", other) for other in others),
            *(Comparison("ratio", "Muster", other) for other in others[1:]),
        ],
    )
