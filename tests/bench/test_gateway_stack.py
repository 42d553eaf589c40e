"""The processes between a caller and a model: they start, answer, and end."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psutil
import pytest

from bench.gateway_stack import BareModel, BareRelay, MusterGateway, completion
from bench.stream_load import StreamPlan, run


def test_musters_way_answers_through_a_gateway_and_a_tunnel(tmp_path: Path) -> None:
    stack = MusterGateway(tmp_path, Path(sys.executable))
    try:
        stack.start()
        measured = run(StreamPlan(stack.port, streams=2, tokens=5, rate=0.0, bearer=stack.bearer))
        assert (measured.tokens, measured.errors) == (10, 0), measured.sample
        assert set(stack.memory()) == {"gateway", "child"} and min(stack.memory().values()) > 0
        commands = [" ".join(psutil.Process(pid).cmdline()) for pid in stack.pids]
        assert "gateway serve" in commands[0] and "muster_agent.tunnel" in commands[1]
        stack.kill_gateway()
        stack.start_gateway()
        stack.await_answer("gateway", stack.port, "POST", "/v1/chat/completions", completion())
    finally:
        stack.stop()
    assert not any(psutil.pid_exists(pid) for pid in stack.pids)


def test_what_does_not_answer_shows_its_log(tmp_path: Path) -> None:
    model = BareModel(tmp_path)
    try:
        model.run("model", [sys.executable, "-c", "raise SystemExit('no model here')"])
        with pytest.raises(RuntimeError, match="no model here"):
            model.await_answer("model", 1)
    finally:
        model.stop()


def test_the_floors_processes_are_both_measured(tmp_path: Path) -> None:
    relay = BareRelay(tmp_path, Path(sys.executable))
    try:
        relay.start()
        assert len(set(relay.pids)) == 2 and all(psutil.pid_exists(pid) for pid in relay.pids)
    finally:
        relay.stop()


def test_a_small_request_asks_for_few_tokens() -> None:
    assert json.loads(completion(2))["max_tokens"] == 2
