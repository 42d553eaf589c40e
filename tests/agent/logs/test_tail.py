"""Logs in one answer: whole where they fit, their end and their cause where they do not, and after their container."""

from __future__ import annotations

import msgspec
import pytest

from muster.api.messages import Logs
from muster_agent.engines.base import LogChunk
from muster_agent.logs.tail import MAX_TAIL_BYTES, bounded
from tests.fixtures.agent_world import AgentWorld

CAUSE = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."


@pytest.mark.parametrize("filler", ["x" * 100, "\x00\x1b" * 50, "\ufffd" * 40, "é" * 60, '"\\' * 50])
def test_one_answer_fits_whatever_is_in_it(filler: str) -> None:
    """Control characters take six bytes each in JSON."""
    text = f"{CAUSE}\n" + "".join(f"{number} {filler}\n" for number in range(9000)) + "the end\n"
    answer = bounded(LogChunk(text, None))
    assert len(msgspec.json.encode(answer)) < 256 * 1024
    assert len(msgspec.json.encode(answer.logs)) > MAX_TAIL_BYTES // 2
    assert answer.truncated
    assert answer.logs.endswith("the end\n")
    assert answer.logs.startswith(CAUSE), "though it is far above"


def test_what_fits_is_whole() -> None:
    assert bounded(LogChunk("\x00 \ufffd\r\n", "s")) == Logs("\x00 \ufffd\r\n", "s")


def test_the_log_of_a_crash_is_followed_beyond_its_container(world: AgentWorld) -> None:
    """With the times that its lines came at, as if the container were still there."""
    world.deploy()
    world.settle()
    instance = world.engine.only()
    world.engine.say(instance.id, "one")
    first = world.ask("container_logs", command_id="o1", container_id="d1")["output"]
    for text in ("two\rthree", "four \x0c\u2028 five"):
        world.engine.say(instance.id, text)
    world.engine.die(instance.id, 1)
    world.settle(2)
    assert world.engine.all == {}
    rest = world.ask("container_logs", command_id="o2", container_id=instance.id, since=first["next_since"])["output"]
    assert rest["logs"] == "two\rthree\nfour \x0c\u2028 five\n"
    last = world.ask("container_logs", command_id="o3", container_id="d1", lines=1)["output"]
    assert (last["logs"], last["truncated"]) == ("four \x0c\u2028 five\n", True)
    again = world.ask("container_logs", command_id="o4", container_id="d1", since=rest["next_since"])["output"]
    assert again["logs"] == ""


def test_long_log_keeps_its_end(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    for number in range(5000):
        world.engine.say(world.engine.only().id, f"{number} " + "x" * 100)
    output = world.ask("container_logs", container_id="d1", lines=5000)["output"]
    assert output["truncated"]
    assert len(output["logs"]) < 256 * 1024
    assert "4999 x" in output["logs"]
