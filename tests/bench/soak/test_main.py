"""A short soak of a few agents against a real `serve`, with a kill in the middle."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from bench.soak import __main__ as program
from tests.fixtures import event_loop
from tests.fixtures.ports import free_port


def test_a_few_agents_lose_nothing_over_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "HEARTBEAT_SECONDS", 1)
    said: list[str] = []
    options = argparse.Namespace(agents=4, minutes=0.05, every=0.1, kill=True, seed=1)
    soak = program.Soak(options, said.append, tmp_path / "soak")
    soak.server.port = free_port()
    event_loop.run(soak.run())
    assert not soak.failed(), "\n".join(soak.summary())
    assert soak.memory and soak.trouble.kills == 1
    assert any(text.startswith("restore: Restored: ") for text in said), said
    assert soak.summary()[0].startswith("agents: 4; answers: ") and "errors: 0; lost: 0" in soak.summary()[0]


def test_an_error_and_a_loss_fail_the_run(tmp_path: Path) -> None:
    soak = program.Soak(argparse.Namespace(agents=0, minutes=1, every=1, kill=False, seed=1), print, tmp_path / "soak")
    assert not soak.failed()
    soak.trouble.error("GET /x: 500")
    assert soak.failed() and "error: 1 x GET /x: 500" in soak.summary()
    soak.trouble.errors.clear()
    soak.failures.append("d1 is not in the list")
    assert soak.failed() and "lost: d1 is not in the list" in soak.summary()
