"""An account in AWS that is moto's server, and whoever deploys to it. Nothing here can reach a real one.

Every process gets made-up credentials, and for each service the address of the server on this machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import botocore.session

from tests.fixtures.markdown import ROOT, blocks

_PRELUDE = """
aws() { "$PYTHON" -m tests.infra.cloud.aws "$@"; }
make() {
    local recipe
    recipe=$(command make --dry-run "$@" | grep --after-context 1 infra.cloud.deploy)
    eval "$(sed 's|^.*/python |"$PYTHON" |' <<< "$recipe")"
}
"""
"""`make` runs what the recipe says of infra.cloud.deploy, by this Python."""

NUMBER, REGION = "123456789012", "eu-central-1"


class Account:
    """`url` answers for every service; `home` has no profiles; `program` is infra.cloud.deploy or tests.cloud.small."""

    def __init__(self, url: str, home: Path, program: str) -> None:
        self.program = program
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MUSTER_", "PYTEST_", "MAKE"))}
        self.environment = inherited | {
            "HOME": str(home),
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "made-up",
            "AWS_SECRET_ACCESS_KEY": "made-up",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(home / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"),
            "AWS_REGION": REGION,
        }

    def client(self, service: str, region: str = REGION) -> Any:
        url = self.environment["AWS_ENDPOINT_URL"]
        session: Any = botocore.session.Session()
        return session.create_client(
            service, region, endpoint_url=url, aws_access_key_id="made-up", aws_secret_access_key="made-up"
        )

    def run(
        self, *words: str, typed: str = "", variables: Mapping[str, str | None] = MappingProxyType({})
    ) -> subprocess.CompletedProcess[str]:
        """The program, with variables set or (None) unset."""
        merged = {k: v for k, v in {**self.environment, **variables}.items() if v is not None}
        command = [sys.executable, "-m", self.program, *words]
        return subprocess.run(command, cwd=ROOT, env=merged, input=typed, capture_output=True, text=True)

    def follow(self, comment: str, typed: str = "", project: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """What docs/cloud.md says under this comment, without building the wheel anew for each `make`."""
        (block,) = [each for each in blocks("docs/cloud.md") if each.comment == comment]
        command = ["bash", "-euo", "pipefail", "-c", _PRELUDE + block.text]
        environment = self.environment | {"PYTHON": sys.executable, "AWS_DEFAULT_REGION": REGION}
        done = subprocess.run(command, cwd=project, env=environment, input=typed, capture_output=True, text=True)
        assert done.returncode == 0, f"{block.text}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done

    def ok(self, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        done = self.run(*words, typed=typed)
        assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done


@contextmanager
def moto(home: Path, program: str) -> Iterator[Account]:
    """An empty account, as long as this lasts."""
    home.mkdir(parents=True, exist_ok=True)
    account = Account("http://127.0.0.1:9", home, program)
    command = [sys.executable, "-m", "tests.infra.cloud.moto_server"]
    with (home / "moto.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=account.environment, stdout=subprocess.PIPE, stderr=log)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().decode().strip()
        assert url, (home / "moto.log").read_text()[-4000:]
        yield Account(url, home, program)
    finally:
        server.kill()
        server.wait()
