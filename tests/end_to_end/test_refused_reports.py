"""A gateway between the agent and the control plane that refuses reports: by their size, or by what they are about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.faults.proxy import RESET, Proxy
from tests.fixtures.agent_process import Operator, ProcessHost
from tests.fixtures.serve import Serve
from tests.fixtures.waiting import eventually

NUMBERS = count(1)
PAGE = b"<html><body>Request blocked</body></html>"
LIMIT = 6000
LARGE = {"STANDIN_CRASH": "x" * 9000}
"""A model that fails at its start, with a log of more than LIMIT bytes."""


def page(status: bytes) -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(PAGE)) + PAGE


@pytest.fixture
def operator(serve: Serve) -> Operator:
    return Operator(serve.url)


@pytest.fixture
def host(serve: Serve, operator: Operator, tmp_path: Path) -> Iterator[GuardedHost]:
    token = operator.call("POST", "/api/registration-tokens", {})["token"]
    host = GuardedHost(tmp_path, serve, token)
    host.start()
    try:
        host.join(operator)
        yield host
    finally:
        host.end()


class GuardedHost(ProcessHost):
    """A host behind a gateway. `refuse(path, body)` gives the answer to a request that the gateway does not like."""

    def __init__(self, folder: Path, serve: Serve, token: str) -> None:
        self.gateway = Proxy(serve.port)
        self.gateway.rule = self._rule
        self.refuse: Callable[[bytes, bytes], bytes | None] = lambda path, body: None
        self.beats: list[bytes] = []
        super().__init__(folder, self.gateway.url, f"guarded-{next(NUMBERS)}", token)

    def join(self, operator: Operator) -> None:
        found = eventually(
            lambda: [each for each in operator.call("GET", "/api/workers")["workers"] if each["name"] == self.name],
            bool,
            "the worker joined",
        )
        self.worker_id = str(found[0]["worker_id"])

    def end(self) -> None:
        super().end()
        self.gateway.end()

    def _rule(self, request: bytes) -> bytes | None:
        head, _, body = request.partition(b"\r\n\r\n")
        path = head.split(b" ", 2)[1]
        if path.endswith(b"/heartbeat"):
            self.beats.append(body)
        return self.refuse(path, body)


@pytest.mark.parametrize(
    "answer", [page(b"403 Forbidden"), page(b"413 Content Too Large"), RESET], ids=["403", "413", "reset"]
)
def test_a_final_status_arrives_without_its_log_and_the_log_once_it_may(
    operator: Operator, host: GuardedHost, answer: bytes
) -> None:
    host.refuse = lambda path, body: answer if len(body) > LIMIT else None
    failed = operator.deploy(worker_id=host.worker_id, restart="never", env=LARGE)
    seen = operator.reach(failed, "error")
    assert seen["error_code"] and seen["last_crash"]["logs"] == ""
    served = operator.deploy(worker_id=host.worker_id)
    operator.reach(served, "running")
    host.refuse = lambda path, body: None
    seen = eventually(lambda: operator.see(failed), lambda seen: bool(seen["last_crash"]["logs"]), "its log")
    assert "xxxx" in seen["last_crash"]["logs"]
    assert operator.see(served)["status"] == "running"


def test_what_is_refused_of_one_deployment_holds_up_no_other_and_is_a_condition(
    operator: Operator, host: GuardedHost
) -> None:
    refused = operator.deploy(worker_id=host.worker_id)
    operator.reach(refused, "running")
    host.refuse = lambda path, body: page(b"403 Forbidden") if refused.encode() in path else None
    operator.call("POST", f"/api/deployments/{refused}/restart")
    served = operator.deploy(worker_id=host.worker_id)
    operator.reach(served, "running")
    beat = eventually(
        lambda: [each for each in host.beats if b"ReportsRefused" in each], bool, "the condition in a heartbeat"
    )[0]
    assert b"403 from something in between, since 2" in beat and f'"deployments":["{refused}"]'.encode() in beat
    for path in (f"/api/workers/{host.worker_id}", f"/api/deployments/{refused}"):
        (shown,) = eventually(partial(conditions, operator, path), bool, f"the condition in {path}")
        assert shown["type"] == "ReportsRefused" and shown["message"].startswith(
            "403 from something in between, since 2"
        )
    assert conditions(operator, f"/api/deployments/{served}") == []
    host.refuse = lambda path, body: None
    operator.reach(refused, "running")


def conditions(operator: Operator, path: str) -> Any:
    return operator.call("GET", path)["conditions"]
