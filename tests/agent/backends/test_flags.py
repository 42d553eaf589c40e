"""`config` as vLLM's command line: what becomes of each value, and what is no flag."""

from __future__ import annotations

import argparse
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from muster_agent.backends.flags import flags
from muster_agent.engines.base import EngineError


@pytest.mark.parametrize(
    ("config", "arguments"),
    [
        ({"enforce_eager": True}, ["--enforce-eager"]),
        ({"enable_prefix_caching": False}, ["--no-enable-prefix-caching"]),
        ({"quantization": None}, []),
        ({"served_model_name": ["a", "b"]}, ["--served-model-name", "a", "b"]),
        ({"middleware": []}, []),
        ({"hf_overrides": {"a": [1, "ü"]}}, ["--hf-overrides", '{"a": [1, "ü"]}']),
        ({"seed": -1}, ["--seed=-1"]),
        ({"chat-template": "-"}, ["--chat-template=-"]),
        ({"dtype": "half", "extra_args": ["-tp", "2", "--seed=3"]}, ["--dtype", "half", "-tp", "2", "--seed=3"]),
        ({"extra_args": None, "port": 1}, []),
        ({"speculative_config.num_speculative_tokens": 3}, ["--speculative-config.num_speculative_tokens", "3"]),
        ({"hf-overrides.a_b.c-d": "x"}, ["--hf-overrides.a_b.c-d", "x"]),
        ({"no_enable_prefix_caching": True}, ["--no-enable-prefix-caching"]),
        ({"no-enable-prefix-caching": False}, ["--enable-prefix-caching"]),
        ({"lora_modules": "a=/x  b=/y"}, ["--lora-modules", "a=/x", "b=/y"]),
        ({"lora_modules": '{"name": "a"}'}, ["--lora-modules", '{"name": "a"}']),
        ({"served_model_name": "a=1 b=2"}, ["--served-model-name", "a=1 b=2"]),
        ({"container_network": "host", "container-mounts": ["/a:/b"], "container_entrypoint": "x"}, []),
    ],
)
def test_each_kind_of_value_becomes_its_flags(config: dict[str, Any], arguments: list[str]) -> None:
    assert list(flags(config)) == arguments


@pytest.mark.parametrize(
    "config",
    [
        {"a b": 1},
        {"--dtype": "x"},
        {"": 1},
        {"dtype": "nul\0"},
        {"dtype": "half \ud800"},
        {"model": "other"},
        {"host": "0.0.0.0"},
        {"api_key": "k"},
        {"extra_args": ["--hos", "0.0.0.0"]},
        {"extra_args": ["--api_key=k"]},
        {"extra_args": ["--model", "x"]},
        {"extra_args": ["--config.x", "y"]},
        {"model.x": "y"},
        {"extra_args": ["--"]},
        {"extra_args": ["other-model"]},
        {"extra_args": "--dtype half"},
        {"extra_args": [1]},
        {"served_model_name": ["-x"]},
    ],
)
def test_what_is_no_flag_or_is_decided_elsewhere_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(EngineError) as raised:
        list(flags(config))
    assert raised.value.error_code == "INVALID_CONFIG"
    assert "config." in raised.value.message


@example({"x": "--"})
@given(st.dictionaries(st.from_regex(r"x[a-z_]{0,10}", fullmatch=True), st.text(min_size=1), max_size=4))
def test_no_value_turns_into_a_flag(config: dict[str, str]) -> None:
    """What argparse reads back is what was given, whatever the values begin with."""
    try:
        arguments = list(flags(config))
    except EngineError:
        return
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for key in {key.replace("_", "-") for key in config}:
        parser.add_argument(f"--{key}")
    read = vars(parser.parse_args(arguments))
    for key in config:
        same = [value for other, value in config.items() if other.replace("_", "-") == key.replace("_", "-")]
        assert read[key.replace("-", "_")] == same[-1]
