"""Where a deployment names paths of the host."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.api.messages import FromHost
from muster_agent.backends.host_paths import in_config, in_env, is_below, looks_like_path, plain

FOUND: list[tuple[dict[str, Any], str, list[str]]] = [
    ({"lora_modules": ["a=/data/a", "b=/data/b"]}, "lora_modules", ["/data/a", "/data/b"]),
    ({"lora-modules": "a=/data/a b=/data/b"}, "lora-modules", ["/data/a b=/data/b", "/data/b", "/data/a"]),
    ({"lora_modules": [{"name": "a", "path": "/data/a"}]}, "lora_modules", ["/data/a"]),
    ({"lora_modules": ['{"name": "a", "path": "/data/a"}']}, "lora_modules", ["/data/a"]),
    ({"lora_modules": '[{"name": "a", "path": "/data/a"}]'}, "lora_modules", ["/data/a"]),
    ({"prompt_adapters": ["a=/data/a"]}, "prompt_adapters", ["/data/a"]),
    ({"qlora_adapter_name_or_path": "/data/a"}, "qlora_adapter_name_or_path", ["/data/a"]),
    ({"chat_template": "/data/t.jinja"}, "chat_template", ["/data/t.jinja"]),
    ({"tokenizer": "/data/t"}, "tokenizer", ["/data/t"]),
    ({"hf_config_path": "/data/t"}, "hf_config_path", ["/data/t"]),
    ({"generation_config": "/data/t"}, "generation_config", ["/data/t"]),
    ({"quantization_param_path": "/data/kv.json"}, "quantization_param_path", ["/data/kv.json"]),
    ({"allowed_local_media_path": "/data/images"}, "allowed_local_media_path", ["/data/images"]),
    ({"speculative_config": {"model": "/data/draft"}}, "speculative_config.model", ["/data/draft"]),
    ({"speculative_config": '{"model": "/data/draft"}'}, "speculative_config", ["/data/draft"]),
    ({"speculative-config.model": "/data/draft"}, "speculative-config.model", ["/data/draft"]),
    ({"speculative_model": "file:///data/draft"}, "speculative_model", ["file:///data/draft"]),
    ({"some_new_flag": {"a": [{"b": "/data/x"}]}}, "some_new_flag.a[0].b", ["/data/x"]),
    ({"extra_args": ["--lora-modules", "a=/data/a", "b=/data/b"]}, "--lora-modules", ["/data/a", "/data/b"]),
    ({"extra_args": ["--lora-modules=a=/data/a"]}, "--lora-modules", ["/data/a"]),
    ({"extra_args": ["--chat-template", "/data/t.jinja"]}, "--chat-template", ["/data/t.jinja"]),
    ({"extra_args": ['--hf-overrides={"x": ["~/.ssh"]}']}, "--hf-overrides", ["~/.ssh"]),
    ({"extra_args": ["-sc.model=/data/draft"]}, "speculative-config", ["/data/draft"]),
    ({"tokenizer": "./t"}, "tokenizer", ["./t"]),
    ({"tokenizer": "a/../../t"}, "tokenizer", ["a/../../t"]),
]


@pytest.mark.parametrize(("config", "where", "paths"), FOUND, ids=str)
def test_a_path_is_found_wherever_it_is_with_its_flag(config: dict[str, Any], where: str, paths: list[str]) -> None:
    found = list(in_config(config))
    assert [each.path for each in found] == paths
    assert all(each.where.startswith("config.") and where in each.where for each in found)


@pytest.mark.parametrize(
    "config",
    [
        {"root_path": "/v1", "served_model_name": ["/models/mine", "b"], "response_role": "/x"},
        {"default_chat_template_kwargs": {"system_prompt": "/no_think"}},
        {"chat_template": "{% for m in messages %}{{ m['content'].strip() / 2 }}</s> /think {% endfor %}"},
        {"chat_template": "line\n/not/a/path"},
        {"chat_template": "examples/tool.jinja", "tokenizer": "org/model", "quantization": "fp8"},
        {"gpu_memory_utilization": ".9", "ignore_patterns": ["*.pt"], "allowed_origins": ["*"]},
        {"otlp_traces_endpoint": "http://collector:4317", "load_format": "s3://bucket/a"},
        {"container_mounts": ["/a:/b"], "port": 8000, "tokenizer": None},
        {"hf_overrides": '{"a": '},
    ],
    ids=str,
)
def test_what_only_looks_a_little_like_a_path_is_none(config: dict[str, Any]) -> None:
    assert list(in_config(config)) == []


def test_a_variable_names_paths_also_between_colons() -> None:
    env: dict[str, str | FromHost] = {
        "A": "/data/a",
        "B": "/x:/data/b:c",
        "C": "text",
        "D": FromHost(True),
        "E": '{"p": "/data/e"}',
    }
    found = [(each.where, each.path) for each in in_env(env)]
    assert ("env.A", "/data/a") in found and ("env.B", "/data/b") in found and ("env.E", "/data/e") in found
    assert not any(where in ("env.C", "env.D") for where, _ in found)


@pytest.mark.parametrize(
    ("path", "folder", "below"),
    [
        ("/data/a", "/data", True),
        ("/data", "/data", True),
        ("/data/", "/data", True),
        ("//data//./a", "/data", True),
        ("/data/../etc", "/data", False),
        ("/etc/../data/a", "/data", True),
        ("/database", "/data", False),
        ("file:///data/a", "/data", True),
        ("data/a", "/data", False),
    ],
)
def test_below_is_by_whole_names(path: str, folder: str, below: bool) -> None:
    assert is_below(path, folder) is below
    assert not is_below(path)


@given(st.recursive(st.text(max_size=9), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_a_path_is_found_at_any_depth_as_an_object_and_as_its_json(value: Any) -> None:
    several = [value, {"x": "/data/p"}]
    for each in (several, json.dumps(several)):
        assert "/data/p" in [found.path for found in in_config({"hf_overrides": each})]


@given(st.text())
def test_a_plain_path_stays_one(text: str) -> None:
    assert plain(plain(text)) == plain(text)
    assert looks_like_path(plain(f"/{text}"))
