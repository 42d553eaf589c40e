"""A deployed stage, asked as whoever deployed it would."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from tests.fixtures.markdown import ROOT
from tests.infra.cloud.moto_account import REGION, Account


@dataclass
class Stage:
    """`prod` in an account of its own, deployed once; `url` and `key` as they were printed."""

    account: Account
    url: str
    key: str
    shown: str
    clients: dict[str, Any] = field(default_factory=dict)

    def aws(self, service: str) -> Any:
        if service not in self.clients:
            self.clients[service] = self.account.client(service)
        return self.clients[service]

    def functions(self) -> dict[str, Any]:
        """Configurations by handler."""
        return {each["Handler"]: each for each in self.aws("lambda").list_functions()["Functions"]}

    def ask(self, method: str, path: str, body: str = "", key: str | None = None) -> tuple[int, Any]:
        given = self.functions()["app.app"]["Environment"]["Variables"]
        command = [sys.executable, "-m", "tests.infra.cloud.ask", method, path, key or self.key, body]
        environment = self.account.environment | {"AWS_DEFAULT_REGION": REGION} | given
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]
        status, answer = json.loads(done.stdout.splitlines()[-1])
        return status, answer
