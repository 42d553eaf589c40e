"""A whole conversation between real processes, with everything that can go wrong; then the search for secrets.

Every secret of the run is looked for in every answer, log, command line and file. Each has its few places where it must
be, and those are checked too: a search that finds nothing anywhere would prove nothing.
"""

from __future__ import annotations

import secrets
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from chalicelib.auth.tokens import new_secret
from tests.fixtures.agent_process import ProcessHost
from tests.fixtures.http_client import Operator, Reply
from tests.fixtures.http_workers import Worker
from tests.fixtures.serve import REGISTRATION_TOKEN, Serve
from tests.fixtures.served import HOURS
from tests.fixtures.waiting import eventually

ADMIN_KEY = new_secret("key")


@dataclass
class Run:
    """`heard` is every answer of the API with who asked for what; `secrets` are by what they are."""

    folder: Path
    url: str
    thorough: bool
    heard: list[tuple[str, str]] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    processes: dict[int, list[str]] = field(default_factory=dict)
    environments: str = ""

    def secret(self, what: str) -> str:
        return self.secrets.setdefault(what, f"{what}-{secrets.token_urlsafe(24)}")

    def answers(self) -> list[str]:
        return [text for _, text in self.heard]

    def text(self, name: str) -> str:
        return (self.folder / name).read_text(errors="replace")

    def look_around(self) -> None:
        """Who runs, with what arguments: what `ps` shows to every user of the host."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                self.processes[process.pid] = process.cmdline()
                self.environments += str(process.environ())


class Heard(Operator):
    def __init__(self, run: Run, bearer: str | None, who: str) -> None:
        super().__init__(run.url, bearer)
        self.run, self.who = run, who

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        reply = super().call(method, path, body, **options)
        self.run.heard.append((f"{self.who} {method} {path}", reply.text))
        return reply


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, thorough: bool) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("secrets")
    serve = Serve(folder / "data", MUSTER_HEARTBEAT="1", MUSTER_ONLINE_WINDOW=HOURS, MUSTER_ADMIN_KEY=ADMIN_KEY)
    run = Run(folder, serve.url, thorough, secrets={"admin key": ADMIN_KEY, "registration token": REGISTRATION_TOKEN})
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_TOKEN", run.secret("host-token"))
        environment.setenv("UNSHARED", run.secret("unshared"))
        serve.start()
        host = ProcessHost(folder, serve.url)
        try:
            host.start()
            _talk(run)
        finally:
            host.end()
            serve.stop()
    yield run


def _talk(run: Run) -> None:
    admin = Heard(run, ADMIN_KEY, "admin")
    worker_id = eventually(lambda: admin.get("/api/workers").body["workers"], bool, "the worker joined")[0]["worker_id"]
    viewer_key = admin.post("/api/api-keys", {"name": "v", "role": "viewer"}).expect(201)["key"]
    token = admin.post("/api/registration-tokens", {"max_uses": 5}).expect(201)["token"]
    run.secrets |= {"viewer key": viewer_key, "second registration token": token}
    viewer = Heard(run, viewer_key, "viewer")

    env = {"MINE_SECRET": run.secret("value"), "HF_TOKEN": {"from_host": True}, "VLLM_API_KEY": run.secret("model-key")}
    healthy = admin.deploy(worker_id, env=env)["deployment_id"]
    crashing = admin.deploy(worker_id, env=env | {"STANDIN_CRASH": "cuda_oom"}, restart="never")["deployment_id"]
    refused = admin.deploy(worker_id, env={"UNSHARED": {"from_host": True}})["deployment_id"]
    wrong = admin.deploy(worker_id, env={"MINE_SECRET": run.secret("value"), "MUSTER_X": run.secret("wrong")})[
        "deployment_id"
    ]
    eventually(lambda: admin.status(healthy), lambda seen: seen == "running", "running")
    for each in (crashing, refused, wrong):
        eventually(lambda id=each: admin.status(id), lambda seen: seen == "error", "error")  # type: ignore[misc]
    run.look_around()
    run.secrets["generated model key"] = admin.deployment(refused)["api_key"]

    _mistakes(run, token, worker_id)
    for who in (admin, viewer):
        for path in ("", "/events", "/logs"):
            for each in (healthy, crashing, refused, wrong):
                who.get(f"/api/deployments/{each}{path}")
        for path in ("containers", "models", "images?wait=0", "storage/disk?fresh=true"):
            who.get(f"/api/workers/{worker_id}/{path}")
        for path in ("/api/workers", "/api/deployments", "/api/api-keys", "/api/registration-tokens"):
            who.get(path)
        who.get("/api/openapi.json")
        who.get("/api/health")
    admin.patch(f"/api/deployments/{healthy}", {"env": {"MINE_SECRET": run.secret("another value")}}).expect(200)
    admin.post(f"/api/deployments/{healthy}/stop").expect(200)
    eventually(lambda: admin.status(healthy), lambda seen: seen == "stopped", "stopped")


def _mistakes(run: Run, token: str, worker_id: str) -> None:
    """Secrets where none belongs."""
    stranger = Worker(run.url, token)
    stranger.register()
    run.secrets["a worker's token"] = str(stranger.client.bearer)
    for secret in list(run.secrets.values()):
        for client in (Heard(run, secret, "holder"), Heard(run, None, "nobody"))[: 2 if run.thorough else 1]:
            client.get(f"/api/workers/{worker_id}?token={secret}")
            if secret.startswith("mst_"):
                client.get(f"/api/{secret}")
                client.get(f"/api/workers/{secret}/images")
                client.get(f"/api/workers/x{secret}%20/images")
            client.call("GET", "/api/workers", headers={"Authorization": f"Basic {secret}"})
            client.post("/api/workers/register", {"name": secret[:9], "token": secret})
            client.post("/api/workers/register", data=f'{{"token": "{secret}",'.encode())
            client.post(f"/api/workers/{worker_id}/heartbeat", {"status": secret})
            client.post("/api/deployments", {"model": "m", "env": {"A": {"from_host": secret}}, "gpus": secret})
    taken = Worker(run.url, token, name="host").try_register()
    run.heard.append(("a taken name", taken.expect(409) and taken.text))


MAY_HEAR = {
    "viewer key": ("admin POST /api/api-keys",),
    "second registration token": ("admin POST /api/registration-tokens",),
    "generated model key": ("admin ",),
}
"""Which answers hold which secrets: what was made, once; a model's key, to operators."""


def test_no_answer_holds_a_secret_but_those_that_are_for_it(run: Run) -> None:
    assert len(run.heard) > 120
    for what, secret in run.secrets.items():
        holders = {who for who, text in run.heard if secret in text}
        allowed = MAY_HEAR.get(what, ())
        assert not {who for who in holders if not who.startswith(allowed or ("\0",))}, what
        assert bool(holders) == bool(allowed), f"{what} is where it must be"


def test_a_secret_that_was_made_is_shown_once(run: Run) -> None:
    for what in ("viewer key", "second registration token"):
        assert sum(run.secrets[what] in text for text in run.answers()) == 1


def test_no_log_holds_a_secret(run: Run) -> None:
    for log in ("data.log", "agent.log"):
        text = run.text(log)
        assert len(text.splitlines()) > 10
        assert [what for what, secret in run.secrets.items() if secret in text] == []


def test_no_command_line_holds_a_secret_though_environments_do(run: Run) -> None:
    lines = "\n".join(" ".join(line) for line in run.processes.values())
    assert "fake_vllm.py" in lines and "-m muster_agent" in lines
    assert [what for what, secret in run.secrets.items() if secret in lines] == []
    for what in ("value", "model-key", "host-token"):
        assert run.secrets[what] in run.environments


STORED: dict[str, set[str]] = {
    "data": {"value", "another value", "model-key", "generated model key", "wrong"},
    "state": {"value", "another value", "model-key", "generated model key", "wrong"},
}
"""What the control plane's and the agent's own files may hold: what models are given. No credential of the API's."""


@pytest.mark.parametrize("folder", STORED)
def test_files_hold_what_models_are_given_and_the_agents_own_token_alone(run: Run, folder: str) -> None:
    found = set()
    for path in (run.folder / folder).rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            found |= {what for what, secret in run.secrets.items() if secret.encode() in content}
    assert found <= STORED[folder]
    assert {"value", "model-key"} <= found, "the search finds what is there"


def test_the_hosts_token_is_in_no_file(run: Run) -> None:
    """It is taken from the environment at each start; the journal says only that it is to be taken."""
    secret = run.secrets["host-token"].encode()
    holders = [path for path in run.folder.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert holders == []


def test_the_agent_keeps_its_own_token_where_it_alone_can_read_it(run: Run) -> None:
    with sqlite3.connect(run.folder / "state" / "journal.sqlite3") as journal:
        (token,) = journal.execute("SELECT value FROM meta WHERE key = 'token'").fetchone()
    assert token.startswith("mst_wrk_")
    everything = [*run.answers(), run.text("data.log"), run.text("agent.log")]
    assert not any(token in text for text in everything)
    files = [path for path in (run.folder / "state").rglob("*") if path.is_file()]
    holders = {path.name for path in files if token.encode() in path.read_bytes()}
    assert {name.partition("-")[0] for name in holders} == {"journal.sqlite3"}


@pytest.mark.parametrize("folder", ["data", "state"])
def test_files_are_for_their_user_alone(run: Run, folder: str) -> None:
    """The folder keeps others out; what lies in it would do so too."""
    assert stat.S_IMODE((run.folder / folder).stat().st_mode) & 0o077 == 0
    loose = [
        str(path.relative_to(run.folder))
        for path in (run.folder / folder).rglob("*")
        if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    assert loose == []
