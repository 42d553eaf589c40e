"""Usage is asked for in every stream, counted, and hidden from callers that did not ask."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.gateway.openai_request import read
from muster.gateway.token_usage import MAX_HELD_BYTES, StreamUsage, of_answer, with_usage

CHAT = b"/v1/chat/completions"
TOKEN = b'data: {"choices":[{"delta":{"content":"\\"usage\\" is a word"}}]}\n\n'
PLAIN = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n'
NULL = b'data: {"choices":[{"delta":{}}],"usage":null}\n\n'
DONE = b"data: [DONE]\n\n"


def sent(body: dict[str, Any] | bytes, path: bytes = CHAT) -> tuple[Any, bool]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given_, hides = with_usage(read(content, b"application/json"), path)
    return json.loads(given_), hides


def test_a_stream_is_asked_for_its_usage_once() -> None:
    body = {"model": "q", "stream": True, "x": 1.5}
    options = {"stream_options": {"include_usage": True}}
    assert sent(body) == (body | options, True)
    assert sent(json.dumps(body).encode() + b" \n") == (body | options, True)
    assert sent(body | options) == (body | options, False)
    merged = {"stream_options": {"continuous_usage_stats": False, "include_usage": True}}
    assert sent(body | {"stream_options": {"continuous_usage_stats": False}}) == (body | merged, True)
    assert sent(body | {"stream_options": None}) == (body | options, True)
    text = body | {"messages": [{"role": "user", "content": 'what is "stream_options"?'}]}
    assert sent(text) == (text | options, True)


def test_other_requests_stay_as_they_are() -> None:
    assert sent({"model": "q"}) == ({"model": "q"}, False)
    assert sent({"model": "q", "stream": True}, b"/v1/responses") == ({"model": "q", "stream": True}, False)


def passed(parts: list[bytes], hides: bool) -> tuple[bytes, StreamUsage]:
    usage = StreamUsage(hides)
    return b"".join([*map(usage.feed, parts), usage.finish()]), usage


@given(st.lists(st.integers(min_value=1, max_value=400)), st.booleans(), st.booleans())
def test_wherever_the_bytes_are_cut_the_usage_is_found_and_nothing_else_changes(
    cuts: list[int], hides: bool, is_crlf: bool
) -> None:
    stream = PLAIN + TOKEN + NULL + USAGE + DONE
    wanted = PLAIN + TOKEN + NULL + (b"" if hides else USAGE) + DONE
    if is_crlf:
        stream, wanted = stream.replace(b"\n\n", b"\r\n\r\n"), wanted.replace(b"\n\n", b"\r\n\r\n")
    parts, rest = [], stream
    for cut in cuts:
        parts.append(rest[:cut])
        rest = rest[cut:]
    found, usage = passed([part for part in [*parts, rest] if part], hides)
    assert found == wanted
    assert usage.used is not None and (usage.used.prompt, usage.used.completion) == (5, 2)


def test_whole_events_pass_untouched_and_are_counted() -> None:
    usage = StreamUsage(True)
    data = PLAIN * 3
    assert usage.feed(data) is data and usage.events == 3 and usage.used is None


def test_usage_beside_a_choice_is_counted_and_passes() -> None:
    continuous = b'data: {"choices":[{"delta":{"content":"a"}}],"usage":{"completion_tokens":1}}\n\n'
    found, usage = passed([continuous, DONE], True)
    assert found == continuous + DONE and usage.used is not None and usage.used.completion == 1


def test_the_usage_of_a_response_is_in_its_last_event() -> None:
    event = b'event: response.completed\ndata: {"response":{"usage":{"input_tokens":4,"output_tokens":6}}}\n\n'
    found, usage = passed([event], False)
    assert found == event and usage.used is not None and (usage.used.prompt, usage.used.completion) == (4, 6)


def test_an_event_without_an_end_is_not_held_for_ever() -> None:
    usage = StreamUsage(True)
    given_ = b"data: " + b"x" * MAX_HELD_BYTES
    assert usage.feed(given_) == given_


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (b'{"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}', (5, 7)),
        (b'{"usage":{"prompt_tokens":5,"total_tokens":5}}', (5, 0)),
        (b'{"usage":{"input_tokens":3,"output_tokens":4}}', (3, 4)),
        (b'{"usage":{"total_tokens":9}}', (9, 0)),
        (b'{"usage":{"prompt_tokens":-5}}', (0, 0)),
    ],
)
def test_a_whole_answer_has_its_usage(body: bytes, tokens: tuple[int, int]) -> None:
    used = of_answer(body)
    assert used is not None and (used.prompt, used.completion) == tokens


@pytest.mark.parametrize("body", [b"", b"{}", b'{"usage":null}', b'{"usage":"x"}', b'"usage"', b'{"usage":'])
def test_an_answer_without_usage_has_none(body: bytes) -> None:
    assert of_answer(body) is None
