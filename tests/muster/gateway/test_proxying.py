"""A caller's request, from its key to the end of its answer, with real parts and replicas of the test's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from muster.api.gateways import StartingModel
from muster.gateway.upstream import Unavailable
from tests.fixtures.event_loop import run
from tests.fixtures.gateway_world import JSON, STREAM, Answer, Reply, World, ask, broken, caller, lost, replica

CHAT = {"model": "qwen", "messages": [{"role": "user", "content": "hi"}]}
WHOLE = json.dumps({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}}).encode()
TOKEN = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}\n\n'
DONE = b"data: [DONE]\n\n"

Use = Callable[[World], Coroutine[Any, Any, Any]]


@pytest.fixture
def with_world(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Calls a coroutine with a world, on an event loop."""

    def use(act: Use, **options: Any) -> Any:
        async def go() -> Any:
            world = World(tmp_path, **options)
            try:
                return await act(world)
            finally:
                world.close()

        return run(go())

    yield use


def ok(body: bytes = WHOLE) -> Answer:
    return Answer(200, JSON, [body])


def test_an_answer_passes_with_its_length_and_is_counted(with_world: Callable[..., Any]) -> None:
    async def act(world: World) -> tuple[Reply, Any]:
        world.serve(replica())
        way = world.answers(1, ok())
        reply = await ask(world.application, CHAT)
        assert json.loads(way.requests[0].body) == CHAT and way.requests[0].deployment_id == "d1"
        assert all(name != b"authorization" for name, _ in way.requests[0].headers)
        return reply, world.sums()

    reply, sums = with_world(act)
    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, WHOLE, str(len(WHOLE)))
    assert [(each.key_id, each.model, each.requests, each.prompt_tokens, each.completion_tokens) for each in sums] == [
        ("key-1", "qwen", 1, 5, 7)
    ]


def refused(reason: str = "no-deployment") -> Unavailable:
    return Unavailable(reason, "this worker does not serve it", is_replica_fault=reason != "draining")


@pytest.mark.parametrize("reason", ["no-deployment", "draining"])
def test_a_replica_that_refuses_for_now_is_asked_again_and_another_one_before(
    with_world: Callable[..., Any], reason: str
) -> None:
    """Routes are a moment behind the worker: a model that has just become ready is not known to its tunnel yet."""

    async def act(world: World) -> None:
        world.serve(replica())
        way = world.answers(1, *[refused(reason)] * 4, ok())
        assert (await ask(world.application, CHAT)).status == 200 and len(way.requests) == 5
        world.serve(replica(1), replica(2))
        first, second = world.answers(1, refused(reason)), world.answers(2, ok())
        for _ in range(3):
            assert (await ask(world.application, CHAT)).status == 200
        assert len(second.requests) == 3 and len(first.requests) <= 3

    with_world(act)


def test_a_model_that_has_left_ends_the_wait_and_so_does_its_time(with_world: Callable[..., Any]) -> None:
    async def leave(world: World) -> None:
        world.serve(replica())

        async def refuse(request: Any) -> Unavailable:
            asyncio.get_running_loop().call_soon(lambda: world.serve(replica(2, model="other")))
            return refused("draining")

        world.answers(1, refuse)
        assert (await ask(world.application, CHAT)).error == (404, "model_not_found")

    async def stay(world: World) -> None:
        world.serve(replica())
        world.answers(1, refused())
        assert (await ask(world.application, CHAT)).error == (503, "no_worker_connected")

    with_world(leave)
    with_world(stay, hold=0.0)


def test_usage_is_asked_for_in_a_stream_and_hidden_from_callers_that_did_not_ask(
    with_world: Callable[..., Any],
) -> None:
    async def act(world: World) -> None:
        world.serve(replica())
        way = world.answers(1, Answer(200, STREAM, [TOKEN, TOKEN + USAGE, DONE]))
        reply = await ask(world.application, CHAT | {"stream": True})
        assert json.loads(way.requests[0].body)["stream_options"] == {"include_usage": True}
        assert reply.body == TOKEN + TOKEN + DONE
        assert [(each.prompt_tokens, each.completion_tokens) for each in world.sums()] == [(5, 2)]
        world.answers(1, Answer(200, STREAM, [TOKEN, USAGE, DONE]))
        asked = await ask(world.application, CHAT | {"stream": True, "stream_options": {"include_usage": True}})
        assert asked.body == TOKEN + USAGE + DONE

    with_world(act)


@pytest.mark.parametrize("fault", [lost(), Answer(200, JSON, [broken()]), Answer(503, JSON, [b"{}"])])
def test_another_replica_answers_where_no_byte_came(with_world: Callable[..., Any], fault: Any) -> None:
    async def act(world: World) -> None:
        world.serve(replica(1), replica(2))
        ways = [world.answers(1, fault), world.answers(2, ok())]
        world.parts.balancer.begin("d2")  # so that the first one is asked first
        assert (await ask(world.application, CHAT)).status == 200
        assert len(ways[1].requests) == 1

    with_world(act)


def test_it_is_tried_three_times_and_then_said_what_failed(with_world: Callable[..., Any]) -> None:
    async def act(world: World) -> None:
        world.serve(*(replica(number) for number in range(1, 6)))
        ways = [world.answers(number, lost()) for number in range(1, 6)]
        reply = await ask(world.application, CHAT)
        assert reply.error == (502, "model_unavailable") and reply.headers["retry-after"]
        assert sorted(len(way.requests) for way in ways) == [0, 0, 1, 1, 1], "each time another worker"

    with_world(act)


def test_a_model_that_answers_an_error_answers_it_to_the_caller(with_world: Callable[..., Any]) -> None:
    async def act(world: World) -> None:
        world.serve(replica())
        world.answers(1, Answer(400, JSON, [b'{"error":{"message":"too long"}}']))
        reply = await ask(world.application, CHAT)
        assert (reply.status, reply.json["error"]["message"]) == (400, "too long")

    with_world(act)


def test_a_stream_that_breaks_ends_with_the_error_as_an_event(with_world: Callable[..., Any]) -> None:
    async def act(world: World) -> None:
        world.serve(replica(1), replica(2))
        ways = [world.answers(number, Answer(200, STREAM, [TOKEN, broken()])) for number in (1, 2)]
        reply = await ask(world.application, CHAT | {"stream": True})
        events = reply.body.split(b"\n\n")
        assert (reply.status, events[0] + b"\n\n", events[2]) == (200, TOKEN, b"data: [DONE]")
        assert json.loads(events[1].removeprefix(b"data: "))["error"]["code"] == "answer_interrupted"
        assert sum(len(way.requests) for way in ways) == 1, "after a byte nothing is repeated"

    with_world(act)


def test_another_answer_that_breaks_is_repeated_until_a_byte_was_sent_and_then_cut_off(
    with_world: Callable[..., Any],
) -> None:
    large = b"x" * 70_000

    async def act(world: World) -> None:
        world.serve(replica(1), replica(2))
        for number in (1, 2):
            world.answers(number, Answer(200, JSON, [b"{", broken()]), ok())
        assert (await ask(world.application, CHAT)).body == WHOLE
        for number in (1, 2):
            world.answers(number, Answer(200, [], [large, broken()]))
        with pytest.raises(ConnectionAbortedError):
            await ask(world.application, CHAT)

    with_world(act)


def test_a_caller_that_leaves_cancels_the_request(with_world: Callable[..., Any]) -> None:
    async def act(world: World) -> None:
        leave = asyncio.Event()

        class Endless(Answer):
            async def read(self) -> bytes:
                await asyncio.sleep(0.001)
                return TOKEN

        endless = Endless(200, STREAM, [])
        world.serve(replica())
        world.answers(1, endless)
        reply = await ask(world.application, CHAT | {"stream": True}, on_part=lambda part: leave.set(), leave=leave)
        assert reply.body.startswith(TOKEN) and endless.cancelled
        assert b'code="499"' in world.telemetry.exposition()

    with_world(act)


@pytest.mark.parametrize(
    ("body", "headers", "error"),
    [
        (b"", (), (400, "invalid_request")),
        (b"{", (), (400, "invalid_request")),
        (b"[]", (), (400, "invalid_request")),
        (b'{"messages": []}', (), (400, "invalid_request")),
        (b'{"model": 5}', (), (400, "invalid_request")),
        (b'{"model": "a", "model": "b"}', (), (400, "invalid_request")),
        (b'{"model": "' + b"x" * 5000 + b'"}', (), (400, "invalid_request")),
        (b'{"model": "qwen", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", (), (400, "invalid_request")),
        (b'{"model": "qwen", "x": NaN}', (), (400, "invalid_request")),
        (b'{"model": "\xff"}', (), (400, "invalid_request")),
        (b'{"model": "nothing"}', (), (404, "model_not_found")),
        (b"x" * 1_000_001, (), (413, "body_too_large")),
    ],
)
def test_bad_input_gets_openais_error_and_never_a_fault_of_ours(
    with_world: Callable[..., Any], body: bytes, headers: Any, error: tuple[int, str]
) -> None:
    async def act(world: World) -> Reply:
        world.serve(replica())
        world.answers(1, ok())
        return await ask(world.application, body, headers=headers)

    assert with_world(act).error == error


def test_keys_scopes_and_limits_are_checked_before_a_model_is_asked(with_world: Callable[..., Any]) -> None:
    async def act(world: World) -> None:
        world.serve(replica(), replica(2, "llama"), callers=[caller(models=["qwen"], rpm=2)])
        way, other = world.answers(1, ok()), world.answers(2, ok())
        assert (await ask(world.application, CHAT, secret=None)).error == (401, "invalid_api_key")
        assert (await ask(world.application, CHAT, secret="mst_key_other")).error == (401, "invalid_api_key")
        twice = [(b"authorization", b"Bearer x")]
        assert (await ask(world.application, CHAT, headers=twice)).error == (401, "invalid_api_key")
        assert (await ask(world.application, CHAT | {"model": "llama"})).error == (403, "model_not_allowed")
        replies = [await ask(world.application, CHAT) for _ in range(3)]
        assert [reply.status for reply in replies] == [200, 200, 429]
        assert replies[0].headers["x-ratelimit-remaining-requests"] == "1"
        assert replies[2].error == (429, "rate_limit_exceeded") and int(replies[2].headers["retry-after"]) > 0
        assert (len(way.requests), len(other.requests)) == (2, 0)

    with_world(act)


def test_a_request_waits_for_a_model_that_is_starting(with_world: Callable[..., Any]) -> None:
    async def act(world: World) -> None:
        world.serve(starting=[StartingModel("d1", "qwen", "starting", percent=40.0)])
        asking = asyncio.create_task(ask(world.application, CHAT))
        while not world.parts.holding._by_model["qwen"]:
            await asyncio.sleep(0)
        world.answers(1, ok())
        world.serve(replica())
        assert (await asking).status == 200

    with_world(act)


def test_a_model_that_does_not_come_up_in_time_is_said_with_its_progress(with_world: Callable[..., Any]) -> None:
    async def act(world: World) -> None:
        world.serve(starting=[StartingModel("d1", "qwen", "downloading", "Pulling", 50.0, since=1_800_000_000.0 - 30)])
        reply = await ask(world.application, CHAT)
        found = reply.json["error"]
        assert reply.error == (503, "model_starting")
        assert (found["state"], found["progress"], found["eta"]) == ("downloading", 50.0, 30.0)
        assert reply.headers["retry-after"] == "30"
        world.serve(replica())
        assert (await ask(world.application, CHAT)).error == (503, "no_worker_connected")

    with_world(act, hold=0.01)


def test_a_conversation_goes_where_it_went_before(with_world: Callable[..., Any]) -> None:
    async def act(world: World) -> None:
        world.serve(*(replica(number) for number in range(1, 5)))
        ways = [world.answers(number, ok()) for number in range(1, 5)]
        for _ in range(8):
            await ask(
                world.application, CHAT | {"messages": [{"role": "user", "content": "one"}, {"role": "assistant"}]}
            )
        assert sorted(len(way.requests) for way in ways) == [0, 0, 0, 8]
        for number in range(40):
            await ask(world.application, CHAT, headers=[(b"x-session-id", b"s%d" % number)])
        assert all(way.requests for way in ways)

    with_world(act)


def test_a_replica_that_drains_did_nothing_wrong(with_world: Callable[..., Any]) -> None:
    async def act(world: World) -> None:
        world.serve(replica(1), replica(2))
        draining = world.answers(1, Unavailable("draining", "it stops", is_replica_fault=False))
        world.answers(2, ok())
        for _ in range(20):
            assert (await ask(world.application, CHAT)).status == 200
        assert len(draining.requests) >= 5, "its circuit stays closed"

    with_world(act)


def test_the_access_log_has_no_prompt_and_no_key(with_world: Callable[..., Any]) -> None:
    async def act(world: World) -> str:
        world.serve(replica())
        world.answers(1, ok())
        world.access_log.start()
        await ask(world.application, CHAT)
        world.access_log.stop()
        return "".join(world.lines)

    line = json.loads(with_world(act))
    assert (line["status"], line["key"], line["model"], line["worker"]) == (200, "app", "qwen", "host-1")
    assert "hi" not in json.dumps(line) and "mst_key" not in json.dumps(line)
