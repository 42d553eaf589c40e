"""OpenAI's own client asks a model on a host that listens on nothing, through a gateway and a tunnel."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.fixtures import ROOT
from tests.fixtures.docker_engine import unavailable
from tests.fixtures.event_loop import run
from tests.fixtures.gateway_rig import MODEL, GatewayRig, TunnelHost
from tests.fixtures.waiting import PATIENCE, eventually

QUESTION: list[Any] = [{"role": "user", "content": "Which words are these?"}]


class StandInHost(TunnelHost):
    def model_command(self) -> str:
        return f"{sys.executable} {ROOT / 'infra' / 'fake_vllm.py'}"


class StandInRig(GatewayRig):
    host = StandInHost


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayRig]:
    with StandInRig(tmp_path_factory.mktemp("openai"), 1) as rig:
        yield rig


def client(rig: GatewayRig, key: str | None = None) -> OpenAI:
    return OpenAI(base_url=f"{rig.gateway.url}/v1", api_key=key or rig.key, max_retries=0, timeout=PATIENCE)


def caller(rig: GatewayRig, **limits: Any) -> OpenAI:
    """A client with a key of its own, which the gateway knows."""
    made = rig.operator.call("POST", "/api/api-keys", {"name": "another", "role": "caller", **limits})
    found = client(rig, str(made["key"]))

    def is_known() -> bool:
        try:
            found.models.list()
        except openai.AuthenticationError:
            return False
        return True

    eventually(is_known, what="the gateway to know a new key")
    return found


def test_the_models_are_listed(rig: GatewayRig) -> None:
    assert [each.id for each in client(rig).models.list()] == [MODEL]
    assert client(rig).models.retrieve(MODEL).id == MODEL


def test_a_chat_is_answered(rig: GatewayRig) -> None:
    answer = client(rig).chat.completions.create(model=MODEL, messages=QUESTION)
    assert "Which words are these?" in str(answer.choices[0].message.content)
    assert answer.usage is not None and answer.usage.prompt_tokens == 4


def test_a_prompt_is_completed(rig: GatewayRig) -> None:
    assert "Once upon" in client(rig).completions.create(model=MODEL, prompt="Once upon").choices[0].text


def test_a_stream_has_its_usage_only_where_it_was_asked_for(rig: GatewayRig) -> None:
    plain = list(client(rig).chat.completions.create(model=MODEL, messages=QUESTION, stream=True))
    assert "".join(each.choices[0].delta.content or "" for each in plain).rstrip().endswith("Which words are these?")
    assert [each.usage for each in plain if each.usage] == []
    options: Any = {"include_usage": True}
    with_usage = list(
        client(rig).chat.completions.create(model=MODEL, messages=QUESTION, stream=True, stream_options=options)
    )
    assert [each.usage.prompt_tokens for each in with_usage if each.usage] == [4]
    assert len(with_usage) == len(plain) + 1


def test_many_streams_at_once_are_each_their_own(rig: GatewayRig) -> None:
    async def one(asking: openai.AsyncOpenAI, number: int) -> bool:
        asked: list[Any] = [{"role": "user", "content": f"number {number}."}]
        stream = await asking.chat.completions.create(model=MODEL, messages=asked, stream=True)
        text = "".join([each.choices[0].delta.content or "" async for each in stream])
        return text.rstrip().endswith(f"number {number}.")

    async def all_of_them() -> list[bool]:
        url = f"{rig.gateway.url}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key=rig.key, max_retries=0, timeout=PATIENCE) as asking:
            return await asyncio.gather(*(one(asking, number) for number in range(32)))

    assert run(all_of_them()) == [True] * 32


def test_an_unknown_key_is_an_authentication_error(rig: GatewayRig) -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        client(rig, "mst_key_unknown").chat.completions.create(model=MODEL, messages=QUESTION)
    assert refused.value.code == "invalid_api_key"
    assert "muster keys create" in refused.value.message


def test_an_unknown_model_is_not_found_and_the_others_are_named(rig: GatewayRig) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client(rig).chat.completions.create(model="nothing", messages=QUESTION)
    assert refused.value.code == "model_not_found" and MODEL in refused.value.message


def test_a_model_that_the_key_may_not_use_is_denied(rig: GatewayRig) -> None:
    other = caller(rig, models=["another-model"])
    assert list(other.models.list()) == []
    with pytest.raises(openai.PermissionDeniedError) as refused:
        other.chat.completions.create(model=MODEL, messages=QUESTION)
    assert refused.value.code == "model_not_allowed"


def test_a_request_above_the_limit_is_a_rate_limit_error_that_says_when(rig: GatewayRig) -> None:
    limited = caller(rig, rpm=1)
    first = limited.chat.completions.with_raw_response.create(model=MODEL, messages=QUESTION)
    assert (first.headers["x-ratelimit-limit-requests"], first.headers["x-ratelimit-remaining-requests"]) == ("1", "0")
    with pytest.raises(openai.RateLimitError) as refused:
        limited.chat.completions.create(model=MODEL, messages=QUESTION)
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 61  # a minute, and the rest of a second


def test_what_the_engine_refuses_is_a_bad_request_in_its_words(rig: GatewayRig) -> None:
    nothing: Any = None
    with pytest.raises(openai.BadRequestError) as refused:
        client(rig).chat.completions.create(model=MODEL, messages=nothing)
    assert "Not a completion request" in refused.value.message


def test_a_request_without_a_model_is_a_bad_request_that_names_the_field(rig: GatewayRig) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client(rig).post("/chat/completions", cast_to=object, body={"messages": QUESTION})
    assert refused.value.param == "model"


def test_curl_sends_a_body_from_its_input_and_shows_the_stream(rig: GatewayRig) -> None:
    program = shutil.which("curl") or unavailable("there is no curl here: apt-get install curl")
    command = [program, "-sS", "--fail-with-body", "--no-buffer", "--data-binary", "@-"]
    command += ["-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {rig.key}"]
    asked = json.dumps({"model": MODEL, "messages": QUESTION, "stream": True})
    url = f"{rig.gateway.url}/v1/chat/completions"
    done = subprocess.run([*command, url], input=asked, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    *events, end = [line.removeprefix("data: ") for line in done.stdout.splitlines() if line]
    text = "".join(choice["delta"].get("content", "") for each in events for choice in json.loads(each)["choices"])
    assert text.rstrip().endswith("Which words are these?") and end == "[DONE]"
