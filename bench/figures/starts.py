"""From the start of a server's process to its first answer, with data of no, 1,000, and 10,000 workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.figure import Comparison, Figure, Metric, Say, Subject
from bench.load import processor_seconds
from bench.peers import Bench
from bench.servers import Server

METRICS = (
    Metric("seconds", "s to the first answer", places=2),
    Metric("cpu", "s of CPU until then", places=2),
    Metric("memory", "MiB resident", places=0),
    Metric("growth", "times its start without workers", places=2),
)
COUNTS = (0, 1000, 10_000)


class Starts(Subject):
    """Data is prepared by registrations, once for each number of workers; each measurement starts on it and stops."""

    def __init__(self, name: str, make: Callable[[Path], Server], folder: Path) -> None:
        self.name = name
        self._make, self._folder = make, folder
        self._prepared: dict[str, Server] = {}
        self._say: Say = print
        self._empty = 0.0
        """Seconds of the last start without workers: the one of the same round."""

    def start(self, say: Say) -> None:
        self._say = say

    def measure(self, case: str) -> dict[str, float]:
        server = self._of(case)
        seconds = server.start()
        try:
            measured = {
                "seconds": seconds,
                "cpu": processor_seconds(server.pids()),
                "memory": server.memory() / 2**20,
            }
        finally:
            server.stop()
        if case == "0":
            self._empty = seconds
        return measured | ({"growth": seconds / self._empty} if self._empty else {})

    def _of(self, case: str) -> Server:
        if case not in self._prepared:
            count = int(case.replace(",", ""))
            server = self._make(self._folder / str(count))
            with server:
                if count:
                    self._say(f"{self.name}: {count:,} workers register")
                    server.register(count)
            self._prepared[case] = server
        return self._prepared[case]


def figure(bench: Bench) -> Figure:
    counts = (0, bench.scale.workers) if bench.scale.quick or bench.reference else COUNTS
    makers = {name: make for name, make in bench.servers().items() if not name.startswith("LMStack")}
    others = [bench.reference_name] if bench.reference else ["FastAPI"]
    return Figure(
        name="starts",
        title="Start and memory",
        text=(
            "From the start of a process, on the data of so many workers, to its first good answer. LMStack is not "
            "here, since its start calls every worker. Memory under load is in the table of heartbeats."
        ),
        cases=[f"{count:,}" for count in counts],
        metrics=METRICS,
        subjects=[Starts(name, make, bench.fresh(f"starts-{name}")) for name, make in makers.items()],
        comparisons=[Comparison("seconds", "Muster", other) for other in others],
    )
