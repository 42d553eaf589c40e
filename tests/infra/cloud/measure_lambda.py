"""What the archive costs on Lambda beside botocore alone, in one run; `make measure-lambda ROUNDS=15`.

Cold: processor milliseconds until the handler is imported, against `import botocore.session`, turn by turn in processes
of their own. Warm: those of an idle heartbeat, event in and answer out, against a bare UpdateItem of the same item.
Between the two stands the floor: the libraries alone, and the same UpdateItem by way of PynamoDB's connection.
The database is another process, so that only this one's time counts. The results are ratios of medians: seconds depend
on the machine, and the machine has other work to do.
"""

from __future__ import annotations

import compileall
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from app import app
from chalicelib.auth import tokens
from chalicelib.store import tables
from tests.fixtures import dynoxide
from tests.fixtures.http_workers import Worker
from tests.fixtures.serve import REGISTRATION_TOKEN
from tests.infra.cloud.emulated import ACCOUNT
from tests.infra.cloud.lambda_emulator import http_event, runtime_beside
from tests.infra.cloud.unpacked_archive import unpacked

BOOT = "11111111-2222-4333-8444-555555555555"
COLD_TARGET, WARM_TARGET = 1.25, 1.4
USUAL = [("Host", "abcdefghij.execute-api.eu-central-1.amazonaws.com"), ("User-Agent", "muster-agent/0.1.0")]
USUAL += [("Accept", "*/*"), ("Accept-Encoding", "gzip, deflate"), ("X-Forwarded-For", "203.0.113.7")]
USUAL += [("X-Forwarded-Port", "443"), ("X-Forwarded-Proto", "https"), ("X-Amzn-Trace-Id", "Root=1-65a0-0123456789")]
ISOLATED = """
import sys, time
sys.path[1:] = [place for place in sys.path[1:] if "site-packages" not in place] + sys.argv[2:]
sys.path[0] = sys.argv[1]
began = time.process_time()
"""
COLD = (
    "import botocore.session",
    "import botocore.session, chalice.app, msgspec, pynamodb.models, pynamodb.transactions",
    "from app import app",
)
WARM = """
import ast, json, os, botocore.session
from types import SimpleNamespace
told = ast.literal_eval(sys.stdin.read())
from app import app
from chalicelib.store import tables
context = SimpleNamespace(aws_request_id="11111111-2222-4333-8444-555555555555")
client = botocore.session.get_session().create_client("dynamodb")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
def beat():
    answer = app(told["event"], context)
    assert answer["statusCode"] == 200, answer
def bare():
    client.update_item(**told["update"])
def by_pynamodb():
    tables.connection().dispatch("UpdateItem", dict(told["update"]))
def milliseconds(call, times):
    began = time.process_time()
    for _ in range(times):
        call()
    return 1000 * (time.process_time() - began) / times
calls = bare, by_pynamodb, beat
for call in calls:
    milliseconds(call, 30)
turns = [[milliseconds(call, 19) for call in calls] for _ in range(told["rounds"])]
print(json.dumps(turns), file=sys.stderr)
"""
"""An idle beat of ten looks at the slots, too: that is part of what an idle heartbeat costs."""


def main() -> int:
    """The exit code: 0 where both targets are met."""
    rounds = int(os.environ.get("ROUNDS") or 15)
    with tempfile.TemporaryDirectory() as folder, dynoxide.running() as url:
        task, brought = (Path(folder, name) for name in ("task", "brought"))
        brought.mkdir()
        places = [str(unpacked(task)), str(runtime_beside(brought))]
        compileall.compile_dir(brought, quiet=1)
        # A function's folder is read-only: what the archive does not bring compiled is compiled at each cold start.
        environment = {"PYTHONDONTWRITEBYTECODE": "1"} | {
            "AWS_ENDPOINT_URL_DYNAMODB": url,
            "AWS_LAMBDA_FUNCTION_NAME": "measured",
            **ACCOUNT,
        }
        os.environ |= environment
        turns = _cold(places, environment, rounds)
        cold = _told("cold import, processor ms", "the libraries alone", turns, COLD_TARGET)
        tables.create_tables()
        tokens.seed_registration_token(REGISTRATION_TOKEN, time.time())
        turns = _warm(places, environment, rounds)
        warm = _told("idle heartbeat, processor ms", "the same UpdateItem by PynamoDB", turns, WARM_TARGET)
    return 0 if cold and warm else 1


def _told(what: str, floor: str, turns: list[list[float]], target: float) -> bool:
    """Print the medians of all turns. Returns whether ours is at most `target` times botocore's."""
    bare, least, ours = (statistics.median(times) for times in zip(*turns, strict=True))
    print(f"{what:30}{bare:8.2f} botocore alone{ours:8.2f} ours  ratio {ours / bare:.2f} (target {target})")
    print(f"{'':30}{least:8.2f} {floor}, ratio {least / bare:.2f}")
    return bool(ours <= target * bare)


def _cold(places: list[str], environment: dict[str, str], rounds: int) -> list[list[float]]:
    """The first turn warms the disk, and does not count."""

    def once(statement: str) -> float:
        code = f"{ISOLATED}{statement}\nprint(1000 * (time.process_time() - began))"
        command = [sys.executable, "-B", "-I", "-S", "-c", code, *places]
        return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)

    return [[once(statement) for statement in COLD] for _ in range(rounds + 1)][1:]


def _warm(places: list[str], environment: dict[str, str], rounds: int) -> list[list[float]]:
    event, update = _idle_heartbeat()
    command = [sys.executable, "-I", "-S", "-c", ISOLATED + WARM, *places]
    told = repr({"event": event, "update": update, "rounds": rounds})  # JSON has no bytes
    done = subprocess.run(command, env=environment, input=told, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    turns: list[list[float]] = json.loads(done.stderr.splitlines()[-1])
    return turns


def _idle_heartbeat() -> tuple[dict[str, Any], dict[str, Any]]:
    """The event of a worker that has nothing to do, and the parameters of the write that it leads to."""
    worker = Worker("", REGISTRATION_TOKEN)
    joined = _call("/api/workers/register", worker.registration(boot_id=BOOT, journal_id=BOOT), "")
    path, token = f"/api/workers/{joined['worker_id']}/heartbeat", joined["token"]
    body = usual = worker.heartbeat(session=joined["session"], journal_id=BOOT)
    written: list[dict[str, Any]] = []
    tables.connection().client.meta.events.register(
        "provide-client-params.dynamodb.UpdateItem", lambda params, **_: written.append(params)
    )
    for _ in range(3):
        body = usual | {"inbox": _call(path, body, token)["inbox"]}
    return _event(path, body, token), written[-1]


def _event(path: str, body: Any, token: str) -> dict[str, Any]:
    headers = [("Content-Type", "application/json"), ("Authorization", f"Bearer {token}"), *USUAL]
    return http_event("POST", path, headers, json.dumps(body).encode(), app.routes)


def _call(path: str, body: Any, token: str) -> Any:
    answer = app(_event(path, body, token), None)
    assert answer["statusCode"] == 200, answer
    return json.loads(answer["body"])


if __name__ == "__main__":
    sys.exit(main())
