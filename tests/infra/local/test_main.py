"""`make serve` and `chalice local` as processes: what they say, what they keep, and how they end."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.fixtures import ROOT
from tests.fixtures.ports import free_port
from tests.fixtures.serve import ADMIN_KEY, Serve
from tests.fixtures.waiting import PATIENCE, deadline, eventually

Start = Callable[..., Serve]
WITHOUT_SECRETS = {"MUSTER_ADMIN_KEY": "", "MUSTER_REGISTRATION_TOKEN": ""}
ACKNOWLEDGED = 50


class InBackground(Serve):
    """Started by a shell that ignores SIGINT, as `make serve &` is."""

    def command(self) -> list[str]:
        return ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *super().command()]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a server on this test's data directory; all are stopped in the end."""
    with ExitStack() as started:

        def new(kind: type[Serve] = Serve, **environment: str) -> Serve:
            serve = kind(tmp_path / "data", **environment)
            serve.start()
            started.callback(serve.stop)
            return serve

        yield new


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A server that was given its secrets, which no test stops."""
    with Serve(tmp_path_factory.mktemp("running") / "data") as serve:
        yield serve


def serve_in_vain(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra.local", "serve", *arguments]
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def operator(key: str = ADMIN_KEY) -> requests.Session:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {key}"
    return session


def token_ids(url: str) -> set[str]:
    session, found, query = operator(), set(), {"limit": "500"}
    while True:
        page = session.get(f"{url}/api/registration-tokens", params=query).json()
        found |= {token["token_id"] for token in page["registration_tokens"]}
        if not page["next_token"]:
            return found
        query["next_token"] = page["next_token"]


def test_a_start_without_the_wheels_for_hosts_says_how_to_get_them(
    start: Start, wheelhouse: Path, tmp_path: Path
) -> None:
    without = start(MUSTER_WHEELHOUSE=str(tmp_path / "nowhere"))
    shown = without.log.read_text()
    assert "run `make wheelhouse` before a host runs join.sh" in shown
    without.stop()
    start(MUSTER_WHEELHOUSE=str(wheelhouse))
    assert "make wheelhouse" not in without.log.read_text().removeprefix(shown)


def test_what_was_acknowledged_survives_kill_9(start: Start) -> None:
    serve = start()
    acknowledged: list[str] = []

    def create() -> None:
        session = operator()
        for number in itertools.count():
            try:
                answer = session.post(f"{serve.url}/api/registration-tokens", json={"name": f"token {number}"})
            except requests.RequestException:
                return  # it was killed
            assert answer.status_code == 201
            acknowledged.append(answer.json()["token_id"])

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(create) for _ in range(4)]
        try:
            enough = eventually(
                lambda: len(acknowledged) >= ACKNOWLEDGED,
                lambda is_enough: is_enough or any(writer.done() for writer in writers),
                what="answers",
            )
        finally:
            serve.kill()
    for writer in writers:
        writer.result()
    assert enough, "no writer ends before the kill"
    assert set(acknowledged) <= token_ids(start().url)


def test_the_first_start_shows_its_secrets_once(start: Start) -> None:
    serve = start(**WITHOUT_SECRETS)
    said = serve.log.read_text()
    key = re.search(r"Admin API key +(\S+)", said)
    token = re.search(r"Registration token +(\S+)", said)
    assert key and token
    assert operator(key[1]).post(f"{serve.url}/api/api-keys", json={"name": "me", "role": "admin"}).status_code == 201
    for name in ("one", "two"):
        body = {"name": name, "token": token[1], "gpu_info": {"count": 0}, "system_info": {"hostname": name}}
        assert requests.post(f"{serve.url}/api/workers/register", json=body).status_code == 200
    serve.stop()
    serve.log.write_text("")
    again = start(**WITHOUT_SECRETS)
    assert "Admin API key" not in again.log.read_text()
    assert operator(key[1]).get(f"{again.url}/api/workers").status_code == 200


def test_secrets_that_were_given_are_not_shown(running: Serve) -> None:
    assert operator().get(f"{running.url}/api/api-keys").status_code == 200
    assert ADMIN_KEY not in running.log.read_text()


@pytest.mark.parametrize(
    ("kind", "number"),
    [(InBackground, signal.SIGINT), (Serve, signal.SIGTERM)],
    ids=["SIGINT, which the parent ignores", "SIGTERM"],
)
def test_it_ends_quietly_when_asked(start: Start, kind: type[Serve], number: signal.Signals) -> None:
    serve = start(kind)
    serve.process.send_signal(number)
    assert serve.process.wait(PATIENCE) == 0
    assert "Traceback" not in serve.log.read_text()


def test_a_port_in_use_is_named_and_nothing_is_served(running: Serve, tmp_path: Path) -> None:
    port = str(running.port)
    ended = serve_in_vain("--port", port, "--data", str(tmp_path / "other"))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"muster: cannot listen on 127.0.0.1 port {port}: it is in use\n"


def test_a_second_server_on_the_same_data_is_refused(running: Serve) -> None:
    data = running.data
    ended = serve_in_vain("--port", "0", "--data", str(data))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"muster: {data} is in use by another muster server; stop it, or give another DATA\n"


@pytest.mark.parametrize("stage", [[], ["--stage", "local"], ["--stage", "prod"]], ids=["bare", "local", "prod"])
def test_chalice_local_shows_its_secrets_and_serves_the_api(tmp_path: Path, stage: list[str]) -> None:
    project = tmp_path / "project"  # where nothing is written: at each change of a file chalice starts its server anew
    project.mkdir()
    for name in ("app.py", "chalicelib", "infra", "muster", ".chalice"):
        (project / name).symlink_to(ROOT / name)
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MUSTER_"))}
    chalice = subprocess.Popen(
        [str(Path(sys.executable).with_name("chalice")), "local", *stage, "--port", str(port)],
        cwd=project,
        env=inherited | {"XDG_DATA_HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert chalice.stdout
        last = f"Serving on http://127.0.0.1:{port}  (data in {tmp_path}/muster)\n"
        with deadline(chalice):
            said = "".join(iter(chalice.stdout.readline, last))
        key = re.search(r"Admin API key +(\S+)", said)
        assert key
        url = f"http://127.0.0.1:{port}"
        assert operator(key[1]).get(f"{url}/api/workers").json() == {"workers": [], "next_token": None}
        assert operator(key[1]).get(f"{url}/api/nothing").json()["error_code"] == "ROUTE_NOT_FOUND"
    finally:
        os.killpg(chalice.pid, signal.SIGKILL)
        chalice.wait()
