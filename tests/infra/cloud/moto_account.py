"""An account in AWS that is moto's server, and whoever deploys to it. Nothing here can reach a real one.

Every command gets made-up credentials, and for each service the address of the server on this machine. Commands run in
this process, which is quicker; `as_processes` makes them processes, as people start them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import botocore.session
import requests
from click.testing import CliRunner

from infra.cloud.deploy import Build, main
from tests.fixtures import ROOT
from tests.fixtures.markdown import blocks
from tests.infra.cloud import aws

NUMBER, REGION = "123456789012", "eu-central-1"
PROGRAM = "infra.cloud.deploy"

_PRELUDE = """
make() {
    local recipe
    recipe=$(command make --dry-run "$@" | grep --after-context 1 infra.cloud.deploy)
    eval "$(sed 's|^.*/python |python |' <<< "$recipe")"
}
"""
"""`make` runs what the recipe says of infra.cloud.deploy, without building the wheel anew."""
_PROCESSES = """
aws() { "$PYTHON" -m tests.infra.cloud.aws "$@"; }
python() { "$PYTHON" "$@"; }
"""
_IN_THIS_PROCESS = """
hand_over() { printf '%s\\0' "$#" "$@" >&"$WORDS"; local status; read -r status <&"$STATUSES"; return "$status"; }
aws() { hand_over aws "$@"; }
python() { hand_over python "$@"; }
"""
"""Words go to the test's process, each ended by NUL behind their number; a line with the exit code comes back."""


@dataclass
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


class Account:
    """`url` answers for every service; `home` has no profiles; `package` is what packages a stage.

    `wheelhouse` is where the wheels for hosts are.
    """

    def __init__(self, url: str, home: Path, package: Build, wheelhouse: Path) -> None:
        self.package, self.app_log = package, home / "app.log"
        self._clients: dict[tuple[str, str], Any] = {}
        self.aws = {
            "HOME": str(home),
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "made-up",
            "AWS_SECRET_ACCESS_KEY": "made-up",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(home / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"),
            "AWS_REGION": REGION,
            "MUSTER_WHEELHOUSE": str(wheelhouse),
        }
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MUSTER_", "PYTEST_", "MAKE"))}
        self.environment = inherited | self.aws

    @property
    def variables(self) -> dict[str, str | None]:
        """For a command in this process: the account's, and (None) none of those that are here about AWS."""
        here = (name for name in os.environ if name.startswith(("AWS_", "MUSTER_")))
        return {**dict.fromkeys((*here, "AWS_RETRY_MODE", "AWS_MAX_ATTEMPTS"), None), **self.aws}

    def forget_everything(self) -> None:
        answer = requests.post(self.aws["AWS_ENDPOINT_URL"] + "/moto-api/reset", timeout=None)
        answer.raise_for_status()

    def client(self, service: str, region: str = REGION) -> Any:
        if (service, region) not in self._clients:
            session: Any = botocore.session.Session()
            self._clients[service, region] = session.create_client(
                service,
                region,
                endpoint_url=self.aws["AWS_ENDPOINT_URL"],
                aws_access_key_id="made-up",
                aws_secret_access_key="made-up",
            )
        return self._clients[service, region]

    def run(self, *words: str, typed: str = "", variables: Mapping[str, str | None] = MappingProxyType({})) -> Done:
        """The program infra.cloud.deploy, with variables set or (None) unset."""
        ended = CliRunner().invoke(main, words, obj=self.package, input=typed, env={**self.variables, **variables})
        if ended.exception and not isinstance(ended.exception, SystemExit):
            raise ended.exception
        return Done(ended.exit_code, ended.stdout, ended.stderr)

    def ok(self, *words: str, typed: str = "") -> Done:
        done = self.run(*words, typed=typed)
        assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done

    def follow(self, comment: str, typed: str = "", project: Path = ROOT, as_processes: bool = False) -> Done:
        """What docs/cloud.md says under this comment."""
        (block,) = [each for each in blocks("docs/cloud.md") if each.comment == comment]
        script = (_PROCESSES if as_processes else _IN_THIS_PROCESS) + _PRELUDE + block.text
        environment = self.environment | {"PYTHON": sys.executable, "AWS_DEFAULT_REGION": REGION}
        said: list[Done] = []

        def obey(program: str, *words: str) -> int:
            if program == "aws":
                aws.run(self.client, *words)
                return 0
            assert words[:2] == ("-m", PROGRAM), words
            said.append(self.run(*words[2:], typed=typed))
            return said[-1].returncode

        done = _shell(script, project, environment, typed, obey)
        done.stdout = "".join(each.stdout for each in said) + done.stdout
        done.stderr = "".join(each.stderr for each in said) + done.stderr
        assert done.returncode == 0, f"{block.text}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done


def _shell(script: str, folder: Path, environment: dict[str, str], typed: str, obey: Callable[..., int]) -> Done:
    """Run the script in bash; `obey` is called for what it hands over, and returns the exit code."""
    handed, words = os.pipe()
    statuses, answers = os.pipe()
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        stdin.write(typed.encode())
        stdin.seek(0)
        bash = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env=environment | {"WORDS": str(words), "STATUSES": str(statuses)},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=(words, statuses),
        )
        os.close(words)
        os.close(statuses)
        try:
            with os.fdopen(handed, "rb") as come, os.fdopen(answers, "wb", buffering=0) as go:
                while count := _word(come):
                    go.write(b"%d\n" % obey(*[_word(come) for _ in range(int(count))]))
            status = bash.wait()
        finally:
            bash.kill()
            bash.wait()
        return Done(status, _whole(stdout), _whole(stderr))


def _word(come: BinaryIO) -> str:
    """Up to the next NUL; nothing at the end."""
    found = b""
    while (byte := come.read(1)) not in {b"", b"\0"}:
        found += byte
    return found.decode()


def _whole(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode()


@contextmanager
def moto(log: Path) -> Iterator[str]:
    """The URL of moto's server, as long as this lasts."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MUSTER_", "PYTEST_"))}
    command = [sys.executable, "-m", "tests.infra.cloud.moto_server"]
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=out
        )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().decode().strip()
        assert url, log.read_text()[-4000:]
        yield url
    finally:
        server.kill()
        server.communicate()


NewAccount = Callable[[Build], Account]
