"""An agent of 0.1.0 whose name is in use for the moment: it ends, waits 300 s at its next start, and joins then.

It takes every 409 of a registration for good. 300 s later its worker is offline, so it joins within ten minutes.
"""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.store.settings import ONLINE_WINDOW
from tests.fixtures.agent_process import Operator
from tests.fixtures.kept_release import Release, ReleaseHost
from tests.fixtures.serve import Serve
from tests.fixtures.waiting import PATIENCE, eventually

PAUSE = 300.0


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    serve = Serve(tmp_path / "data", MUSTER_HEARTBEAT="1")
    serve.start()
    yield serve
    serve.stop()


def said(host: ReleaseHost) -> str:
    return (host.folder / "agent.log").read_text(errors="replace")


def pass_the_pause(host: ReleaseHost) -> None:
    """As if it had been refused so long ago."""
    with sqlite3.connect(host.folder / "state" / "journal.sqlite3") as journal:
        set_ = "UPDATE meta SET value = ? WHERE key = 'refused_at'"
        assert journal.execute(set_, [repr(time.time() - PAUSE)]).rowcount == 1
    journal.close()


def test_it_joins_within_ten_minutes(serve: Serve, release: Release, tmp_path: Path) -> None:
    """A host without its state folder, while its worker still counts as online."""
    operator = Operator(serve.url)
    first, again = (ReleaseHost(release, tmp_path / name, serve.url) for name in ("first", "again"))
    for host in (first, again):
        host.folder.mkdir()
    try:
        first.start()
        (worker,) = eventually(lambda: operator.call("GET", "/api/workers")["workers"], bool, "the worker joined")
        again.start()
        assert again.process.wait(PATIENCE) == 1
        assert "409 WORKER_NAME_IN_USE" in said(again)
        again.start()
        eventually(lambda: said(again), lambda text: "refused this worker; it is asked again in" in text, "it waits")
        again.kill()
        assert PAUSE > ONLINE_WINDOW, "by then its worker is offline"
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(PATIENCE) == 0
        pass_the_pause(again)
        again.start()
        eventually(lambda: said(again), lambda text: "registered as worker" in text, "it joins")
        (now,) = operator.call("GET", "/api/workers")["workers"]
        assert (now["worker_id"], now["status"]) == (worker["worker_id"], "online")
        assert "parked" not in said(first) + said(again)
    finally:
        for host in (first, again):
            host.end()
