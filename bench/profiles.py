"""Where the hottest paths of `serve` spend their time: `make profile` writes build/profiles/NAME.txt and NAME.raw.

Each path is driven by the load generator while py-spy samples the thread that holds the interpreter. Waiting for the
disk is not in the samples. Shares are by owner: the innermost frame that belongs to a listed package.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.load import Plan
from bench.servers import ADMIN_KEY, ROOT, Caller, Muster, Worker, request

FOLDER = ROOT / "build" / "profiles"
WORKERS = 200
CONNECTIONS = 8
OWNERS = (
    ("moto", "moto"),
    ("uvicorn", "uvicorn"),
    ("h11", "h11"),
    ("httptools", "httptools"),
    ("botocore", "botocore"),
    ("pynamodb", "pynamodb"),
    ("infra/local/", "infra/local"),
    ("chalicelib/", "chalicelib"),
    ("muster/", "muster"),
    ("chalice/", "chalice"),
    ("sqlite3", "sqlite3"),
    ("http/", "http.server"),
    ("email/", "email"),
    ("socketserver", "socketserver"),
    ("asyncio/", "asyncio"),
)
"""A part of a frame's file, and whose it is."""


@dataclass(frozen=True)
class Stack:
    """Frames from the outermost to the innermost, as `function (file:line)`, and how often they were seen."""

    frames: tuple[str, ...]
    count: int


def stacks(raw: str) -> list[Stack]:
    """What py-spy's raw format says: a line for each stack, its frames parted by semicolons."""
    found = []
    for line in raw.splitlines():
        frames, _, count = line.rpartition(" ")
        found.append(Stack(tuple(frames.split(";")), int(count)))
    return found


def function(frame: str) -> str:
    """The frame without its line's number."""
    name, _, place = frame.rpartition(" (")
    return f"{name} ({place.rstrip(')').partition(':')[0]})"


def owner(frames: Sequence[str]) -> str:
    """Whose the innermost frame is that anybody owns."""
    for frame in reversed(frames):
        for part, name in OWNERS:
            if part in frame:
                return name
    return "other"


def shares(counted: Iterable[tuple[str, int]], total: int, most: int) -> list[str]:
    """The largest, with their part of the whole in percent."""
    counts: Counter[str] = Counter()
    for name, count in counted:
        counts[name] += count
    return [f"{100 * count / total:6.1f} %  {name}" for name, count in counts.most_common(most)]


def text(title: str, found: Sequence[Stack]) -> str:
    """The profile as text: by owner, by function alone, and by function with what it calls."""
    total = sum(stack.count for stack in found)
    if not total:
        return f"{title}\n\nno samples\n"
    by_owner = shares(((owner(stack.frames), stack.count) for stack in found), total, 20)
    alone = shares(((function(stack.frames[-1]), stack.count) for stack in found), total, 40)
    within = shares(
        ((name, stack.count) for stack in found for name in {function(frame) for frame in stack.frames}), total, 80
    )
    parts = [title, f"{total} samples", "By owner:", *by_owner, "", "Functions alone:", *alone, ""]
    return "\n".join([*parts, "Functions with what they call:", *within, ""])


@dataclass(frozen=True)
class Hotspot:
    """A path through the server: `requests` prepares the server and makes what is sent."""

    name: str
    title: str
    requests: Callable[[Muster, Sequence[Worker]], list[str]]


def heartbeats(server: Muster, workers: Sequence[Worker]) -> list[str]:
    return server.heartbeats(workers)


def lists(server: Muster, workers: Sequence[Worker]) -> list[str]:
    return [request("GET", path, bearer=ADMIN_KEY) for path in server.list_paths()] * CONNECTIONS


def metrics(server: Muster, workers: Sequence[Worker]) -> list[str]:
    return [request("GET", "/api/metrics", bearer=ADMIN_KEY)] * CONNECTIONS


def deploy(caller: Caller, worker: Worker) -> Any:
    """A deployment on the worker."""
    body = {"model": "Qwen/Qwen3-0.6B", "worker_id": worker.identity, "config": {"port": 8001}}
    return caller.call("POST", "/api/deployments", body)


def deploys(server: Muster, workers: Sequence[Worker]) -> list[str]:
    """Each worker has one deployment, which is restarted over and over: a new generation in its slot."""
    caller = Caller(server.port, ADMIN_KEY)
    ids = [deploy(caller, worker)["deployment_id"] for worker in workers]
    caller.close()
    return [request("POST", f"/api/deployments/{identity}/restart", {}, ADMIN_KEY) for identity in ids]


def reports(server: Muster, workers: Sequence[Worker]) -> list[str]:
    """`starting` with progress, as a model that loads is reported, many times for each deployment in its order."""
    caller = Caller(server.port, ADMIN_KEY)
    made = [(worker, deploy(caller, worker)) for worker in workers]
    caller.close()
    return [_report(worker, deployment, sequence) for sequence in range(1, 60) for worker, deployment in made]


def _report(worker: Worker, deployment: dict[str, Any], sequence: int) -> str:
    progress = {"phase": "loading", "current": sequence, "total": 100, "percent": float(sequence)}
    order = {"session": worker.session, "generation": deployment["generation"], "sequence": sequence}
    path = f"/api/workers/{worker.identity}/deployments/{deployment['deployment_id']}/status"
    return request("POST", path, {"status": "starting", "progress": progress} | order, worker.token)


PATHS = (
    Hotspot("heartbeat", "An idle heartbeat", heartbeats),
    Hotspot("report", "A status report with progress", reports),
    Hotspot("list", "The list of all workers", lists),
    Hotspot("metrics", "The metrics of all workers", metrics),
    Hotspot("deploy", "A restart of a deployment, a new generation in its slot", deploys),
)


def profile(path: Hotspot, seconds: float) -> str:
    """Run the path on a server of its own, and write its files. Returns the text."""
    data = ROOT / "build" / "bench" / "data" / f"profile-{path.name}"
    shutil.rmtree(data, ignore_errors=True)
    with Muster(data) as server:
        requests = path.requests(server, server.register(WORKERS))
        assert server.process is not None
        # Reports have an order, and are sent once: they are no warm-up.
        plan = Plan(server.port, CONNECTIONS, seconds + 1, requests, warm_up=0)
        load = subprocess.Popen(
            [sys.executable, "-m", "bench.load"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert load.stdin is not None
        load.stdin.write(json.dumps(asdict(plan)))
        load.stdin.close()
        raw = _sampled(server.process.pid, seconds, path.name)
        assert load.stdout is not None
        measured = json.loads(load.stdout.read())
        load.wait()
    title = f"{path.title}: {measured['answers']} answers, {measured['errors']} errors"
    written = text(title, stacks(raw))
    (FOLDER / f"{path.name}.txt").write_text(written)
    if measured["errors"]:
        raise SystemExit(f"{title}:\n{measured['sample']}")
    return written


def _sampled(pid: int, seconds: float, name: str) -> str:
    """py-spy's stacks of the process, also kept as build/profiles/NAME.raw."""
    raw = FOLDER / f"{name}.raw"
    spy = str(Path(sys.executable).with_name("py-spy"))
    options = ["--duration", f"{seconds:.0f}", "--rate", "200", "--gil", "--format", "raw", "--output", str(raw)]
    done = subprocess.run([spy, "record", "--pid", str(pid), *options], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"py-spy: {done.stderr.strip()[-500:]}")
    return raw.read_text()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.profiles", description="Profile the hottest paths of serve.")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--only", nargs="*", choices=[path.name for path in PATHS])
    options = parser.parse_args(arguments)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in PATHS:
        if not options.only or path.name in options.only:
            written = profile(path, options.seconds)
            print("\n".join(written.splitlines()[:16]), f"... {FOLDER.relative_to(ROOT)}/{path.name}.txt\n", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
