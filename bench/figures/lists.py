"""A list of all workers, page by page: processor time and bytes of the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.figure import Comparison, Figure, Metric, Say, Scale, Subject
from bench.figures.heartbeats import run_load
from bench.load import Plan
from bench.peers import Bench
from bench.servers import NotMeasured, Server, request

METRICS = (
    Metric("cpu", "ms of CPU a list"),
    Metric("wall", "ms a list"),
    Metric("kilobytes", "kB a list", places=0),
    Metric("requests", "requests", places=0),
)
COUNTS = (1000, 10_000)
GZIP = ", gzip"
"""After the number of workers in a case's name: the client accepts it, as browsers and most clients do."""


class Lists(Subject):
    """A server for each number of workers; they are started and filled when a case is first measured."""

    def __init__(self, name: str, make: Callable[[Path], Server], folder: Path, scale: Scale) -> None:
        self.name = name
        self._make, self._folder, self._scale = make, folder, scale
        self._running: dict[int, Server] = {}
        self._paths: dict[int, list[str]] = {}
        self._say: Say = print

    def start(self, say: Say) -> None:
        self._say = say
        self._make(self._folder)  # raises NotMeasured where there is none

    def measure(self, case: str) -> dict[str, float]:
        count = int(case.removesuffix(GZIP).replace(",", ""))
        server = self._of(count)
        encoding = "gzip" if case.endswith(GZIP) else ""
        requests = [request("GET", path, None, server.bearer(), encoding) for path in self._paths[count]]
        plan = Plan(server.port, 1, self._scale.seconds, requests, server.pids())
        measured = run_load(plan)
        if measured.errors:
            raise RuntimeError(f"{self.name}: a list was answered with an error: {measured.sample}")
        lists = measured.answers / len(requests)
        return {
            "cpu": 1000 * measured.server_cpu / lists,
            "wall": 1000 * measured.seconds / lists,
            "kilobytes": measured.bytes_in / lists / 1000,
            "requests": len(requests),
        }

    def _of(self, count: int) -> Server:
        if count not in self._running:
            if self.name.startswith("LMStack") and count > COUNTS[0]:
                raise NotMeasured("its registrations would take too long")
            server = self._running[count] = self._make(self._folder / str(count))
            server.start()
            self._say(f"{self.name}: {count:,} workers register")
            server.register(count)
            self._paths[count] = server.list_paths()
        return self._running[count]

    def stop(self) -> None:
        for server in self._running.values():
            server.stop()


def figure(bench: Bench) -> Figure:
    counts = (bench.scale.workers,) if bench.scale.quick or bench.reference else COUNTS
    others = [bench.reference_name] if bench.reference else ["FastAPI", "LMStack, 1 process"]
    makers = {name: make for name, make in bench.servers().items() if name != "LMStack"}
    return Figure(
        name="lists",
        title="Listing workers",
        text=(
            "All workers of a control plane, over one connection, in pages as large as the server allows (500 workers; "
            "100 in LMStack). Processor time is the server's, for all pages of one list together. With gzip, the "
            "client accepts it; the peers do not compress."
        ),
        cases=[f"{count:,}{form}" for count in counts for form in ("", GZIP)],
        metrics=METRICS,
        subjects=[Lists(name, make, bench.fresh(f"lists-{name}"), bench.scale) for name, make in makers.items()],
        comparisons=[Comparison(metric, "Muster", other) for metric in ("cpu", "kilobytes") for other in others],
    )
