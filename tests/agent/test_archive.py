"""The logs of instances that are gone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engines.logs import Line, backwards, chunk, stored
from tests.fixtures.agent_world import AgentWorld


@given(st.lists(st.binary(max_size=80).map(lambda text: text.replace(b"\n", b""))))
def test_a_log_that_was_stored_is_read_again(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    log = chunk([Line(at, text) for at, text in enumerate(lines)][::-1], 1000, None)
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_bytes(stored(log))
    again = chunk(backwards(path), 1000, None)
    assert (again.text, again.times) == (log.text, log.times)


def test_logs_outlive_their_container(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    instance = world.engine.only()
    world.engine.say(instance.id, "last words")
    world.stop()
    world.settle()
    for number, key in enumerate([instance.id, instance.id[:5], instance.name, "d1"]):
        output = world.ask("container_logs", command_id=f"o{number}", container_id=key)["output"]
        assert output["logs"] == "last words\n"
    again = world.ask("container_logs", command_id="o9", container_id="d1", since=output["next_since"])["output"]
    assert again["logs"] == ""
    assert world.ask("container_logs", command_id="o8", container_id="d1", since="x")["error_code"] == "INVALID_REQUEST"
