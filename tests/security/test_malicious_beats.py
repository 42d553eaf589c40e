"""What a control plane in an attacker's hand may answer a heartbeat: the agent beats on, neither at once nor never."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from muster_agent.commands import MAX_COMMANDS
from tests.fixtures.agent_world import AgentWorld
from tests.security.hostile_host import goes_on, world_of


def answer(**fields: Any) -> tuple[int, bytes, dict[str, str]]:
    return 200, msgspec.json.encode({"commands": [], "inbox": 1, "next_heartbeat_in": 5} | fields), {}


def raw(text: str) -> tuple[int, bytes, dict[str, str]]:
    return 200, text.encode(), {}


DEEP = "[" * 50_000 + "]" * 50_000
NESTED = '{"a":' * 700 + "1" + "}" * 700
DEPLOY = '{"type":"deploy","command_id":"c","deployment_id":"d9","generation":1,"backend":"vllm","model":"org/model",'
STOP = {"type": "stop", "command_id": "c", "deployment_id": "d", "generation": 1}
LIST = {"type": "list_images", "command_id": "c", "expires_in": 60}
LOGS = {"type": "container_logs", "command_id": "c", "expires_in": 9, "container_id": "x"}
ANSWERS = {
    "html": raw("<html>"),
    "empty": raw(""),
    "null": raw("null"),
    "nan": raw('{"commands":[],"inbox":1,"next_heartbeat_in":NaN}'),
    "deep": raw(DEEP),
    "deep commands": raw(f'{{"commands":{DEEP},"inbox":1,"next_heartbeat_in":1}}'),
    "a deep config": raw(f'{{"commands":[{DEPLOY}"config":{{"x":{DEEP}}}}}],"inbox":1,"next_heartbeat_in":1}}'),
    "as deep as is read": raw(f'{{"commands":[{DEPLOY}"config":{NESTED}}}],"inbox":1,"next_heartbeat_in":1}}'),
    "a huge number": raw(f'{{"commands":[{DEPLOY}"config":{{"x":{"9" * 5000}}}}}],"inbox":1,"next_heartbeat_in":1}}'),
    "a huge generation": answer(commands=[STOP | {"generation": 2**64 - 1}]),
    "a generation below zero": answer(commands=[STOP | {"generation": -1}]),
    "no type": answer(commands=[{}]),
    "no commands": answer(commands=[1, None, "x", [], {"type": "reboot", "command_id": "c"}]),
    "another type": answer(commands=[{"type": "exec", "command_id": "c", "command": "reboot"}]),
    "a huge inbox": raw('{"commands":[],"inbox":1e400,"next_heartbeat_in":1}'),
    "surrogates": raw('{"commands":[{"type":"\\ud800","command_id":"\\udfff"}],"inbox":1,"next_heartbeat_in":1}'),
    "a megabyte of id": answer(commands=[LIST | {"command_id": "i" * 2**20}]),
    "a megabyte of deployment": answer(commands=[STOP | {"deployment_id": "i" * 2**20}]),
    "no id": answer(commands=[LIST | {"command_id": ""}, STOP | {"deployment_id": ""}]),
    "expired for ever": answer(commands=[LIST | {"expires_in": -1e308}]),
    "valid for ever": answer(commands=[LIST | {"expires_in": 1e308}]),
    "many lines": answer(commands=[LOGS | {"lines": 2**60}]),
    "lines below zero": answer(commands=[LOGS | {"lines": -5}]),
    "twice the same": answer(commands=[LIST, LIST]),
}


@pytest.mark.parametrize("said", ANSWERS.values(), ids=ANSWERS)
def test_after_an_answer_that_is_none_the_agent_goes_on(
    tmp_path: Path, said: tuple[int, bytes, dict[str, str]]
) -> None:
    world = world_of(tmp_path)
    world.server.failures.append(said)
    assert 1 <= world.beat() <= 60
    world.runtime.operations.run_all()
    world.settle()
    goes_on(world)


@pytest.mark.parametrize("seconds", ["0", "-1", "1e308", "1e999", "-1e999", "NaN", "null", '"soon"', "1e-320"])
def test_the_next_heartbeat_is_neither_at_once_nor_never(tmp_path: Path, seconds: str) -> None:
    world = world_of(tmp_path)
    world.server.failures.append(raw(f'{{"commands":[],"inbox":1,"next_heartbeat_in":{seconds}}}'))
    assert 1 <= world.beat() <= 3600
    goes_on(world)


@pytest.mark.parametrize("after", ["99999999999999999999", "-5", "1e9", "NaN", "\u0663", "0"])
def test_retry_after_is_neither_at_once_nor_never(tmp_path: Path, after: str) -> None:
    world = world_of(tmp_path)
    world.server.failures.append((503, b'{"error_code": "UNAVAILABLE", "message": "x"}', {"Retry-After": after}))
    assert 0 < world.beat() <= 700
    goes_on(world)


def test_a_crowd_of_commands_is_taken_a_thousand_at_a_time(tmp_path: Path, thorough: bool) -> None:
    world = world_of(tmp_path)
    crowd = [
        {"type": "list_images", "command_id": f"c{number}", "expires_in": 60}
        for number in range(100_000 if thorough else 5000)
    ]
    world.server.failures.append(answer(commands=crowd, inbox=77))
    world.beat()
    world.beat()
    beat = world.server.beats[-1]
    assert len(beat.acks) == MAX_COMMANDS
    assert beat.inbox != 77, "so that the rest is sent again"
    world.runtime.operations.run_all()
    for _ in range(MAX_COMMANDS // 50 + 1):
        world.deliver()
    goes_on(world)


def test_after_a_registration_that_is_none_the_agent_goes_on(tmp_path: Path) -> None:
    world = AgentWorld(tmp_path).boot()
    for said in ("{}", "null", DEEP, '{"worker_id": 1}', '{"worker_id": "x"}'):
        world.server.failures.append(raw(said))
        assert 1 <= world.beat() <= 60
    world.beat()
    goes_on(world)


@pytest.mark.parametrize("worker_id", ["../../admin", "a b", "\n", "?x=", "x" * 9000])
def test_a_worker_id_stays_one_segment_of_the_path(tmp_path: Path, worker_id: str) -> None:
    world = AgentWorld(tmp_path).boot()
    world.server.worker_id = worker_id
    world.beat()
    asked = world.server.requests[-1]
    assert asked.startswith("/api/workers/") and asked.endswith("/heartbeat") and asked.count("/") == 4
    assert not set(asked) & set(" ?\n")
