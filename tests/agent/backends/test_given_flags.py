"""Flags in each form that vLLM takes them."""

from __future__ import annotations

from typing import Any

import pytest

from muster_agent.backends.given_flags import extra_args, given_flags, is_flag, sendable
from muster_agent.engines.base import EngineError

EXTRA = "config.extra_args: --"


@pytest.mark.parametrize(
    ("config", "given"),
    [
        ({"max_model_len": 1}, [("config.max_model_len", "max-model-len", 1)]),
        ({"max-model-len": 1}, [("config.max-model-len", "max-model-len", 1)]),
        ({"a.b_c.d": 1}, [("config.a", "a", {"b_c": {"d": 1}})]),
        ({"a": None, "port": 1, "container_network": "host", "container-mounts": [], "container.x": 1}, []),
        ({"extra_args": ["--a", "x", "y"]}, [(f"{EXTRA}a", "a", ["x", "y"])]),
        ({"extra-args": ["--a", "x"]}, [(f"{EXTRA}a", "a", ["x"])]),
        ({"extra_args": ["-tp", "2"]}, [(f"{EXTRA}tensor-parallel-size", "tensor-parallel-size", ["2"])]),
        ({"extra_args": ["--a_b=x"]}, [(f"{EXTRA}a_b", "a-b", ["x"])]),
        ({"extra_args": ["--seed", "-1", "--b"]}, [(f"{EXTRA}seed", "seed", ["-1"]), (f"{EXTRA}b", "b", True)]),
        ({"extra_args": ["-O3"]}, [(f"{EXTRA}compilation-config", "compilation-config", ["3"])]),
        ({"extra_args": ["--a", "1", "--a", "2"]}, [(f"{EXTRA}a", "a", ["1"]), (f"{EXTRA}a", "a", ["2"])]),
        (
            {"extra_args": ["-sc.model=x"]},
            [(f"{EXTRA}speculative-config", "speculative-config", {"model": ["x"]})],
        ),
    ],
)
def test_a_flag_is_found_by_its_whole_name_with_every_value(config: dict[str, Any], given: list[Any]) -> None:
    assert list(given_flags(config)) == given


@pytest.mark.parametrize("key", ["port", "extra_args", "container_network", "container-network", "container_typo"])
def test_settings_of_the_agent_are_no_flags(key: str) -> None:
    assert not is_flag(key)
    assert is_flag("max_model_len")


@pytest.mark.parametrize("extra", ["--a", [1], ["a"], ["--"], ["--a", "\0"], ["--a", "--"]])
def test_extra_arguments_are_a_list_of_texts_that_begins_with_a_flag(extra: Any) -> None:
    with pytest.raises(EngineError, match=r"config\.extra_args") as raised:
        extra_args({"extra_args": extra})
    assert raised.value.error_code == "INVALID_CONFIG"


def test_a_text_that_no_process_can_be_given_is_refused() -> None:
    assert sendable("config.a", "ü") == "ü"
    for text in ("\0", "\ud800"):
        with pytest.raises(EngineError, match=r"config\.a"):
            sendable("config.a", text)
