"""What `make e2e-vllm` does not take for an answer; test_e2e_vllm.py runs it in whole."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from infra import e2e_checks
from infra.demo_stage import DemoFailed
from infra.e2e_checks import KEY_NAME, Used


def answer(text: str) -> requests.Response:
    made = requests.Response()
    made._content, made.encoding = text.encode(), "utf-8"
    return made


def test_a_stream_has_an_end() -> None:
    assert list(e2e_checks._events(answer('data: {"a": 1}\n\n: comment\n\ndata: [DONE]\n\n'))) == [{"a": 1}]
    with pytest.raises(DemoFailed, match="does not end with"):
        e2e_checks._events(answer('data: {"a": 1}\n\n'))


@pytest.mark.parametrize(
    ("text", "prompt", "completion"), [("", 3, 3), ("w1", 0, 3), ("w1", 3, 0)], ids=["empty", "no prompt", "no tokens"]
)
def test_an_answer_has_a_text_and_costs_tokens(text: str, prompt: int, completion: int) -> None:
    with pytest.raises(DemoFailed, match="chat: the answer"):
        e2e_checks._told("chat", text, {"prompt_tokens": prompt, "completion_tokens": completion})


def test_only_what_its_own_key_used_is_counted() -> None:
    row: dict[str, Any] = {"requests": 1, "prompt_tokens": 2, "completion_tokens": 3}
    rows = [row | {"key": KEY_NAME}, row | {"key": KEY_NAME}, row | {"key": "another"}, row]
    assert e2e_checks._counted(rows) == Used(1, 2, 3) + Used(1, 2, 3) == Used(2, 4, 6)
