"""What the gateway reads of a request, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.gateway.openai_errors import OpenAIError
from muster.gateway.openai_request import read

JSON = b"application/json"
FORM = b"multipart/form-data; boundary=XX"


def form(*fields: tuple[str, bytes]) -> bytes:
    parts = [b'--XX\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (n.encode(), v) for n, v in fields]
    return b"".join([*parts, b"--XX--\r\n"])


def test_model_stream_and_usage_are_read_and_the_body_stays_as_it_is() -> None:
    body = b' {"model":"qwen","stream":true,"x":[1,{"y":2}],"stream_options":{"include_usage":true,"z":1}} '
    asked = read(body, JSON)
    assert (asked.model, asked.stream, asked.wants_usage, asked.body) == ("qwen", True, True, body)
    assert read(b'{"model":"q"}', b"").stream is False


def messages(*texts: str, system: str | None = None) -> bytes:
    first = [{"role": "system", "content": system}] if system else []
    roles = ("user", "assistant")
    turns = [{"role": roles[number % 2], "content": text} for number, text in enumerate(texts)]
    return json.dumps({"model": "q", "messages": [*first, *turns]}).encode()


def test_a_conversation_is_known_by_its_first_turn() -> None:
    begun = read(messages("hello", system="be brief"), JSON).turn
    assert read(messages("hello", "hi", "go on", system="be brief"), JSON).turn == begun is not None
    assert read(messages("hello", system="be long"), JSON).turn != begun
    assert read(messages("bye", system="be brief"), JSON).turn != begun
    assert read(b'{"model":"q","prompt":"x"}', JSON).turn is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[1]",
        b'"model"',
        b"{",
        b'{"model":null}',
        b'{"model":""}',
        b'{"model":"a\\nb"}',
        b'{"model":"a","stream":"yes"}',
        b'{"model":"a","messages":{}}',
        b'{"model":"a","model":"b"}',
        b'{"model":"a","stream":false,"stream":true}',
        b'{"model":"a","x":{"model":"b","model":"c"}}',
        b'{"model":"a","\\u006dodel":"b"}',
        b'{"\\u006d\\u006F\\u0064\\u0065\\u006c" :"b","model":"a"}',
        b'{"model":"a","stream":false,"strea\\u006D":true}',
        b'{"model":"a","stream_options":{},"stream\\u005foptions":null}',
        b'{"model":"a"} {"model":"b"}',
        b'{"model":"a"}\x00',
        b'\xff\xfe{"model":"a"}',
        b'{"model":"a","x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_what_is_not_one_clear_body_is_refused(body: bytes) -> None:
    with pytest.raises(OpenAIError) as error:
        read(body, JSON)
    assert (error.value.status, error.value.code) == (400, "invalid_request")


def test_a_field_may_be_named_in_a_prompt() -> None:
    body = messages('say "model" and "stream"', '{"model": "x"}')
    assert read(body, JSON).model == "q"


def test_a_name_may_have_an_escape() -> None:
    assert read(b'{"\\u006dodel":"q","x":"\\u006dodel\\": "}', JSON).model == "q"


def test_the_field_at_fault_is_named() -> None:
    wrong = {b'{"model":1}': "model", b'{"stream":true}': "model", b'{"model":"a","stream":1}': "stream"}
    for body, param in wrong.items():
        with pytest.raises(OpenAIError) as error:
            read(body, JSON)
        assert error.value.param == param


def test_a_form_names_its_model_and_files_are_not_looked_into() -> None:
    file = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="model"\r\n\r\n\x00name="model"\r\n'
    asked = read(file + form(("model", b"whisper"), ("stream", b"true")), FORM)
    assert (asked.model, asked.stream) == ("whisper", True)
    assert read(form(("model", b"w")), b'Multipart/Form-Data; charset=x; boundary="XX"').model == "w"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--XX--",
        form(("file", b"x")),
        form(("model", b"a"), ("model", b"b")),
        form(("model", b"\xff")),
        form(("model", b"x" * 5000)),
        form(("model", b"a"))[:-6],
        form(*((f"f{number}", b"x") for number in range(80)), ("model", b"a")),
    ],
)
def test_a_form_that_is_not_one_is_refused(body: bytes) -> None:
    with pytest.raises(OpenAIError):
        read(body, FORM)


def test_another_type_is_refused() -> None:
    with pytest.raises(OpenAIError, match="Content-Type"):
        read(b'{"model":"a"}', b"text/plain")


@given(st.binary(max_size=200), st.sampled_from([JSON, FORM, b"", b"text/plain"]))
def test_any_bytes_are_read_or_refused_in_openais_shape(body: bytes, kind: bytes) -> None:
    try:
        asked = read(body, kind)
    except OpenAIError as error:
        assert 400 <= error.status < 500 and json.loads(error.body())
    else:
        assert asked.model


@given(st.dictionaries(st.text(max_size=8), st.recursive(st.integers() | st.text(max_size=9), st.lists, max_leaves=5)))
def test_a_body_of_json_is_read_as_json_reads_it(fields: dict[str, Any]) -> None:
    body = json.dumps(fields | {"model": "qwen", "stream": True, "messages": []}).encode()
    assert (read(body, JSON).model, read(body, JSON).stream) == ("qwen", True)
