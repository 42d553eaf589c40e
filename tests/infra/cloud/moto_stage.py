"""A deployed stage, asked as whoever deployed it would."""

from __future__ import annotations

import json
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

from tests.fixtures import ROOT
from tests.infra.cloud.moto_account import REGION, Account


class Stage:
    """`prod`, deployed once; `url` and `key` as they were printed. A context, which ends the app's process."""

    def __init__(self, account: Account, url: str, key: str, shown: str) -> None:
        self.account, self.url, self.key, self.shown = account, url, key, shown
        self._app: subprocess.Popen[str] | None = None
        self._given: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_app()

    def aws(self, service: str) -> Any:
        return self.account.client(service)

    def functions(self) -> dict[str, Any]:
        """Configurations by handler."""
        return {each["Handler"]: each for each in self.aws("lambda").list_functions()["Functions"]}

    def ask(self, method: str, path: str, body: str = "", key: str | None = None) -> tuple[int, Any]:
        """Asks the app, which runs with the function's environment."""
        given = self.functions()["app.app"]["Environment"]["Variables"]
        if self._app is None or given != self._given:
            self._start_app(given)
        assert self._app and self._app.stdin and self._app.stdout
        self._app.stdin.write(json.dumps([method, path, key or self.key, body]) + "\n")
        self._app.stdin.flush()
        line = self._app.stdout.readline()
        assert line, f"the app ended: {self.account.app_log.read_text()[-4000:]}"
        status, answer = json.loads(line)
        return status, answer

    def _end_app(self) -> None:
        if self._app:
            self._app.kill()
            self._app.communicate()

    def _start_app(self, given: dict[str, str]) -> None:
        self._end_app()
        self._given = given
        with self.account.app_log.open("ab") as log:
            self._app = subprocess.Popen(
                [sys.executable, "-m", "tests.infra.cloud.app_requests"],
                cwd=ROOT,
                env=self.account.environment | {"AWS_DEFAULT_REGION": REGION} | given,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
