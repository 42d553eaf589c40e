"""Logs in one answer: whole where they fit, their end and their cause where they do not, and after their container."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engines import LogChunk
from agent.engines.logs import Line, backwards, chunk, stored
from agent.logs import MAX_BYTES, bounded
from chalicelib.contract.messages import Logs
from tests.fixtures.agent_world import AgentWorld

CAUSE = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."


@given(st.lists(st.binary(max_size=80).map(lambda text: text.replace(b"\n", b""))))
def test_what_is_stored_is_read_again(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    log = chunk([Line(at, text) for at, text in enumerate(lines)][::-1], 1000, None)
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_bytes(stored(log))
    again = chunk(backwards(path), 1000, None)
    assert (again.text, again.times) == (log.text, log.times)


@pytest.mark.parametrize("filler", ["x" * 100, "\x00\x1b" * 50, "\ufffd" * 40, "é" * 60, '"\\' * 50])
def test_one_answer_fits_whatever_is_in_it(filler: str) -> None:
    """Control characters take six bytes each in JSON."""
    text = f"{CAUSE}\n" + "".join(f"{number} {filler}\n" for number in range(9000)) + "the end\n"
    answer = bounded(LogChunk(text, None))
    assert len(msgspec.json.encode(answer)) < 256 * 1024
    assert len(msgspec.json.encode(answer.logs)) > MAX_BYTES // 2
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


def test_the_cause_of_a_crash_may_be_thousands_of_lines_above_its_end(world: AgentWorld) -> None:
    world.deploy(restart="never")
    world.settle()
    instance = world.engine.only()
    world.engine.say(instance.id, CAUSE)
    for number in range(4000):
        world.engine.say(instance.id, f"({number}) what others had to say about it, at some length and to no end")
    world.engine.die(instance.id, 1)
    world.settle(2)
    report = world.last_report()
    assert report.error_code == "CUDA_OUT_OF_MEMORY"
    assert report.logs is not None and CAUSE in report.logs and "(3999)" in report.logs
    assert len(report.logs.encode()) <= 70 * 1024
