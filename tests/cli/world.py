"""The real client and command line on the real app, in this process, with the real agent on an engine in memory.

The client's clock is the agent's: while a command waits, the worker beats, and nothing here takes longer than it must.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import requests

from muster.client import Client, Clock
from tests.agent.world import World
from tests.whole.gateway import ADMIN_KEY, REGISTRATION_TOKEN, App

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
        self.away = False
        self.meanwhile: Callable[[], None] = lambda: None
        self.waited = 0.0

    def join(self) -> Operators:
        self.boot(REGISTRATION_TOKEN)
        self.beat(0)
        return self

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
