"""The real client and command line on the real app, in this process, with the real agent on an engine in memory.

The client's clock is the agent's: while a command waits, the worker beats, and nothing here takes longer than it must.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec
import requests
from click.testing import CliRunner, Result

from muster.cli.main import muster
from muster.cli.shell import Shell
from muster.client import Client, Clock
from tests.agent.world import World
from tests.whole.gateway import ADMIN_KEY, REGISTRATION_TOKEN, App

T = TypeVar("T")
URL = "https://muster.example"


class ControlPlane(App):
    """`asked` are the paths of the requests; while it is `down` nothing listens."""

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self.asked: list[str] = []
        self.down = False

    def exchange(self, request: requests.PreparedRequest) -> requests.Response:
        self.asked.append(request.path_url)
        if self.down:
            raise requests.ConnectionError("[Errno 111] Connection refused")
        return super().exchange(request)


class Operators(World):
    """`meanwhile` is called at each wait of the client's; `away` workers do not beat."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.app = self.server = ControlPlane(time.time())
        self.policy = replace(self.policy, share_env=("SECRET",))
        self.away = False
        self.meanwhile: Callable[[], None] = lambda: None
        self.waited = 0.0

    def join(self) -> Operators:
        self.boot(REGISTRATION_TOKEN)
        self.beat(0)
        return self

    def invoke(self, line: str, *, key: str | None = ADMIN_KEY, stdin: str | None = None, **environment: str) -> Result:
        """`muster` with the words of that line, as somebody who is logged in with that key."""
        logged_in = {"MUSTER_URL": URL, "MUSTER_API_KEY": key} if key else {}
        shell = Shell(
            environment={"XDG_CONFIG_HOME": str(self.folder / "config"), **logged_in, **environment},
            session=self.app.session_to_here,
            clock=self.waiting,
            wall=lambda: datetime.now(UTC),
        )
        return CliRunner().invoke(muster, shlex.split(line), obj=shell, input=stdin)

    def out(self, line: str, exit_code: int = 0, **more: str) -> str:
        """What it said, without the ends of lines that are blank. Raises AssertionError for another exit code."""
        result = self.invoke(line, **more)
        assert result.exit_code == exit_code, f"{result.exit_code}: {result.output}"
        assert "Traceback" not in result.output
        return result.output

    def json(self, line: str, type_: type[T], **more: str) -> T:
        """What it said to a program."""
        result = self.invoke(f"{line} -o json", **more)
        assert result.exit_code == 0, result.output
        return msgspec.json.decode(result.stdout, type=type_, strict=True)

    def client(self, key: str = ADMIN_KEY) -> Client:
        return Client(URL, key, session=self.app.session_to_here(), clock=self.waiting)

    @property
    def waiting(self) -> Clock:
        return Clock(lambda: self.waited, self.wait)

    def wait(self, seconds: float) -> None:
        self.waited += seconds
        self.meanwhile()
        if not self.away:
            self.beat(seconds)
            self.settle(2, seconds)
