"""What `make e2e-vllm` asks of a model at the gateway's one address, and what has to be counted of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests
from rich.markup import escape

from infra.demo import say, step
from infra.demo_api import ANSWER_SECONDS, Api
from infra.demo_stage import DemoFailed, Stage, attempts

KEY_NAME = "e2e"
PROMPT = "w1 w2 w3"
MAX_TOKENS = 16
KNOWN_SECONDS = 300.0
"""In which the gateway has to learn of a new key and of the model."""
COUNTED_SECONDS = 300.0
"""In which the gateway has to report what was used. It reports once a minute."""


@dataclass(frozen=True)
class Used:
    """Requests and their tokens."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Used) -> Used:
        return Used(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


def check(stage: Stage, api: Api, model: str) -> None:
    """Raises DemoFailed where an answer or the sum of the tokens is not what it has to be."""
    step(f"Checking the answers at {api.url}/v1, and their tokens")
    caller = Caller(api.url, str(api.post("/api/api-keys", {"name": KEY_NAME, "role": "caller"})["key"]), model)
    _until_listed(stage, caller)
    try:
        total = caller.chat() + caller.streamed_chat() + caller.completion()
    except (LookupError, TypeError, ValueError) as error:
        raise DemoFailed(f"an answer has another shape than OpenAI's: {error!r}", "agent") from error
    _until_counted(stage, api, total)


class Caller:
    """An application that has one address, a caller's key, and the name of a model."""

    def __init__(self, url: str, key: str, model: str) -> None:
        self.model = model
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy lies between this machine and itself
        self._session.headers["Authorization"] = f"Bearer {key}"

    def models(self) -> requests.Response:
        return self._session.get(f"{self._url}/v1/models", timeout=ANSWER_SECONDS)

    def chat(self) -> Used:
        answer = self._post("/v1/chat/completions", _messages()).json()
        return _told("chat", answer["choices"][0]["message"]["content"], answer["usage"])

    def streamed_chat(self) -> Used:
        options = {"stream": True, "stream_options": {"include_usage": True}}
        chunks = list(_events(self._post("/v1/chat/completions", _messages() | options)))
        deltas = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
        pieces = [delta for delta in deltas if delta]
        if len(pieces) < 2:
            raise DemoFailed(f"the streamed answer came in {len(pieces)} pieces", "agent")
        return _told(f"chat, streamed in {len(pieces)} pieces", "".join(pieces), chunks[-1]["usage"])

    def completion(self) -> Used:
        answer = self._post("/v1/completions", {"prompt": PROMPT}).json()
        return _told("completion", answer["choices"][0]["text"], answer["usage"])

    def _post(self, path: str, body: dict[str, Any]) -> requests.Response:
        content = {"model": self.model, "max_tokens": MAX_TOKENS, **body}
        answer = self._session.post(self._url + path, json=content, timeout=ANSWER_SECONDS)
        if not answer.ok:
            raise DemoFailed(f"POST {path} was answered {answer.status_code}: {answer.text[:500]}", "agent")
        return answer


def _messages() -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": PROMPT}]}


def _events(answer: requests.Response) -> Iterator[dict[str, Any]]:
    """The chunks of a stream. Raises DemoFailed where it has no proper end."""
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    if events[-1:] != ["[DONE]"]:
        raise DemoFailed(f"the stream does not end with [DONE]: {answer.text[-500:]}", "agent")
    return map(json.loads, events[:-1])


def _told(how: str, text: str, usage: dict[str, int]) -> Used:
    used = Used(1, int(usage["prompt_tokens"]), int(usage["completion_tokens"]))
    if not text or not used.prompt_tokens or not used.completion_tokens:
        raise DemoFailed(f"{how}: the answer {text!r} cost {usage}", "agent")
    say(f"{how}: {used.prompt_tokens} + {used.completion_tokens} tokens: [dim]{escape(text.strip()[:80])}[/]")
    return used


def _until_listed(stage: Stage, caller: Caller) -> None:
    """The gateway learns of a key and of a model by polling."""
    for _ in attempts(KNOWN_SECONDS):
        stage.check()
        answer = caller.models()
        if answer.ok and caller.model in [model["id"] for model in answer.json()["data"]]:
            say(f"models: {caller.model} is listed")
            return
    raise DemoFailed(f"GET /v1/models does not list {caller.model}: {answer.status_code} {answer.text[:500]}", "agent")


def _until_counted(stage: Stage, api: Api, total: Used) -> None:
    for _ in attempts(COUNTED_SECONDS):
        stage.check()
        rows = api.get("/api/usage", {"by": "key"})["rows"]
        if (counted := _counted(rows)).requests >= total.requests:
            break
    if counted != total:
        raise DemoFailed(f"GET /api/usage shows {counted}, and the answers cost {total}", "control plane")
    say(f"usage: {total.requests} requests, {total.prompt_tokens} + {total.completion_tokens} tokens are counted")


def _counted(rows: list[dict[str, Any]]) -> Used:
    mine = [row for row in rows if row.get("key") == KEY_NAME]
    return Used(*(sum(row[name] for row in mine) for name in ("requests", "prompt_tokens", "completion_tokens")))
