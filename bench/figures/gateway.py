"""What the way through the gateway and a tunnel costs: small requests, tokens, and the time to the first token."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from bench.figure import Comparison, Figure, Metric, Say, Scale, Subject
from bench.figures.heartbeats import run_load
from bench.gateway_stack import BareModel, BareRelay, MusterGateway, Stack, completion
from bench.load import Plan
from bench.peers import Bench
from bench.servers import ROOT
from bench.stream_load import StreamPlan, StreamsMeasured

CONNECTIONS = 32
STREAMS = 50
TOKENS_A_SECOND = 50.0
METRICS = (
    Metric("per_core", "requests or tokens per second of CPU", "more", 0),
    Metric("rate", "requests or tokens/s", "more", 0),
    Metric("first_p50", "ms to the first token, p50", places=2),
    Metric("lag_p50", "ms behind the model's rate, p50", places=2),
    Metric("p50", "ms"),
    Metric("p99", "ms"),
    Metric("client_cpu", "% of a core, client", places=0),
    Metric("gateway_memory", "MiB, gateway", places=0),
    Metric("child_memory", "MiB, agent's child", places=0),
    Metric("errors", "errors", places=0),
)
SMALL, ONE, PACED, FLAT_OUT = "small requests", "1 stream", f"{STREAMS} streams", f"{STREAMS} streams, no pause"


def run_streams(plan: StreamPlan) -> StreamsMeasured:
    """Raises RuntimeError with the load generator's complaint."""
    command = [sys.executable, "-m", "bench.stream_load"]
    done = subprocess.run(command, input=json.dumps(asdict(plan)), cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr[-2000:]}")
    return StreamsMeasured(**json.loads(done.stdout))


class Way(Subject):
    """A way from callers to a model. `make` makes its processes in the folder."""

    def __init__(self, name: str, make: Callable[[Path], Stack], folder: Path, scale: Scale) -> None:
        self.name = name
        self._stack, self._scale = make(folder), scale

    def start(self, say: Say) -> None:
        self._stack.start()

    def measure(self, case: str) -> dict[str, float]:
        values = self._small() if case == SMALL else self._streams(case)
        return values | {f"{name}_memory": size / 2**20 for name, size in self._stack.memory().items()}

    def _small(self) -> dict[str, float]:
        body = completion()
        lines = ["POST /v1/chat/completions HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
        lines += [f"Authorization: Bearer {self._stack.bearer}", f"Content-Length: {len(body)}", "", body]
        plan = Plan(
            self._stack.port, CONNECTIONS, self._scale.seconds, ["\r\n".join(lines)] * CONNECTIONS, self._stack.pids
        )
        measured = run_load(plan)
        values = {"rate": measured.rate, "p50": measured.p50, "p99": measured.p99, "errors": float(measured.errors)}
        if measured.server_cpu:
            values["per_core"] = measured.answers / measured.server_cpu
        return values | {"client_cpu": 100 * measured.client_cpu / measured.seconds}

    def _streams(self, case: str) -> dict[str, float]:
        streams = 1 if case == ONE else STREAMS
        rate = 0.0 if case == FLAT_OUT else TOKENS_A_SECOND
        tokens = int(self._scale.seconds * (rate or 20 * TOKENS_A_SECOND))
        plan = StreamPlan(self._stack.port, streams, max(tokens, 2), rate, self._stack.bearer, pids=self._stack.pids)
        measured = run_streams(plan)
        values = {"rate": measured.rate, "first_p50": measured.first_p50, "errors": float(measured.errors)}
        if rate:
            values["lag_p50"] = measured.lag_p50
        if measured.server_cpu and streams > 1:
            values["per_core"] = measured.tokens / measured.server_cpu
        return values | {"client_cpu": 100 * measured.client_cpu / measured.seconds}

    def stop(self) -> None:
        self._stack.stop()


def figure(bench: Bench) -> Figure:
    python = bench.python
    return Figure(
        name="gateway",
        title="The way through the gateway",
        text=(
            f"Chat completions of a model: answers of one token over {CONNECTIONS} kept connections (small requests), "
            f"one stream, {STREAMS} streams of {TOKENS_A_SECOND:.0f} tokens a second, and {STREAMS} streams without a "
            "pause. Muster is a gateway, an agent, and its child, each a process; the processor time is that of the "
            "gateway and the child. `bare relay` is two processes with the same library for HTTP/2, which check and "
            "count nothing. `model` is the model itself, which costs next to nothing: what the others add to its "
            "time to the first token, and to its lag, is theirs."
        ),
        cases=[SMALL, ONE, PACED, FLAT_OUT],
        metrics=METRICS,
        subjects=[
            Way("Muster", lambda folder: MusterGateway(folder, python), bench.fresh("gateway"), bench.scale),
            Way("bare relay", lambda folder: BareRelay(folder, python), bench.fresh("gateway-relay"), bench.scale),
            Way("model", BareModel, bench.fresh("gateway-model"), bench.scale),
        ],
        comparisons=[Comparison("per_core", "Muster", "bare relay"), Comparison("rate", "Muster", "bare relay")],
    )
