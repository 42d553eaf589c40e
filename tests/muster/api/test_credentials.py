"""Credentials in `config`: found in any spelling and at any depth, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from muster.api.credentials import (
    HIDDEN,
    MAX_DEPTH,
    first_credential,
    hidden_in,
    is_credential,
    without_credentials,
)

VALUE = "S3CRET-value"
HF = "hf_" + "aB3" * 12


@pytest.mark.parametrize(
    "name",
    [
        *("hf_token", "hf-token", "HF_TOKEN", "hfToken", "hf.token", "HfToken", "hftoken", "--hf-tok", "--hf-token"),
        *(
            "huggingface_token",
            "hugging_face_hub_token",
            "HUGGING_FACE_HUB_TOKEN",
            "use_auth_token",
            "token",
            "auth-token",
        ),
        *("api_key", "api-key", "apiKey", "API_KEY", "apikey", "api_keys", "openai_api_key", "api-k", "x-api-key"),
        *("aws_access_key_id", "AWS_SECRET_ACCESS_KEY", "aws_session_token", "s3_secret", "secret", "client_secret"),
        *("password", "ssl_keyfile_password", "ssl-keyfile-password", "db.passwd", "passphrase", "bearer"),
        *("authorization", "private_key", "credentials", "wandb_api_key", "speculative-config.hf_token", "hf_token_2"),
    ],
)
def test_these_names_are_of_credentials(name: str) -> None:
    assert is_credential(name)


@pytest.mark.parametrize(
    "name",
    [
        *("tokenizer", "tokenizer_mode", "tokenizer-revision", "skip_tokenizer_init", "token_ids", "token"[:3]),
        *(
            "max_tokens",
            "max_num_batched_tokens",
            "num_speculative_tokens",
            "max_new_tokens",
            "max_prompt_adapter_token",
        ),
        *("eos_token", "bos_token_id", "pad_token", "image_token", "classifier_from_token", "stop_token_ids"),
        *("speculative_token_tree", "return_tokens_as_token_ids", "enable_force_include_usage", "keyfile"),
        *("ssl_keyfile", "key", "kv_cache_dtype", "pass_config", "allow_credentials", "max_logprobs", "model"),
        *("hf_overrides", "hf_config_path", "api_server_count", "hf", "api", "monkey", "secretary_mode"),
    ],
)
def test_these_names_are_not(name: str) -> None:
    assert not is_credential(name)


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"hf_token": VALUE}, "config.hf_token"),
        ({"hf-token": VALUE}, "config.hf-token"),
        ({"api_key": [VALUE]}, "config.api_key"),
        ({"password": 12345678}, "config.password"),
        ({"kv_transfer_config": {"kv_connector_extra_config": {"auth_token": VALUE}}}, "extra_config.auth_token"),
        ({"speculative_config": json.dumps({"hf_token": VALUE})}, "config.speculative_config.hf_token"),
        ({"x": [{"a": {"secret": VALUE}}]}, "config.x[0].a.secret"),
        ({"speculative_config.hf_token": VALUE}, "config.speculative_config.hf_token"),
        ({"extra_args": ["--hf-token", VALUE]}, "config.extra_args.hf-token"),
        ({"extra_args": ["--seed", "1", f"--hf_token={VALUE}"]}, "config.extra_args[2].hf_token"),
        ({"extra_args": ["--hf-tok", VALUE]}, "config.extra_args.hf-tok"),
        ({"extra_args": ["--api-key", "first", VALUE]}, "config.extra_args.api-key"),
        ({"extra_args": [f"--hf-token {VALUE}"]}, "hf-token"),
        ({"extra_args": f"--seed 1 --hf-token {VALUE}"}, "hf-token"),
        ({"extra_args": ["--kv-transfer-config", json.dumps({"api_key": VALUE})]}, "api_key"),
        ({"extra_args": [f"--kv-transfer-config={json.dumps({'api_key': VALUE})}"]}, "api_key"),
        ({"extra_args": ["--kv-transfer-config.api_key", VALUE]}, "api_key"),
        ({"env": f"HF_TOKEN={VALUE}"}, "HF_TOKEN"),
        ({"envs": [f"A=1,HF_TOKEN={VALUE}"]}, "HF_TOKEN"),
        ({"x": f"HF_TOKEN={VALUE} A=1"}, "HF_TOKEN"),
        ({"otlp_traces_endpoint": f"https://host/?token={VALUE}&a=1"}, "otlp_traces_endpoint"),
        ({"otlp_traces_endpoint": f"https://user:{VALUE}@host/"}, "otlp_traces_endpoint"),
        ({f"hf_token={VALUE}": True}, "config.hf_token"),
        ({"revision": HF}, "config.revision"),
        ({"headers": f"Bearer {VALUE}0"}, "config.headers"),
    ],
    ids=str,
)
def test_a_credential_is_named_by_its_place_and_never_by_its_value(config: dict[str, Any], where: str) -> None:
    said = first_credential(config)
    assert said is not None
    assert where in said
    assert "env" in said
    shown = json.dumps(without_credentials(config))
    for value in (VALUE, HF):
        assert value not in said
        assert value not in shown
    assert HIDDEN in shown


@pytest.mark.parametrize(
    "config",
    [
        {"max_model_len": 4096, "tokenizer": "org/model", "tokenizer_mode": "auto", "max_num_batched_tokens": 8192},
        {"use_auth_token": True, "hf_token": None, "enable_prefix_caching": False},
        {"chat_template": "{% for m in messages %}{{ bos_token }}api_key=x{{ m['content'] }}{% endfor %}"},
        {"speculative_config": {"method": "ngram", "num_speculative_tokens": 3}, "hf_overrides": {"eos_token_id": 1}},
        {"speculative_config": '{"method": "ngram",  "num_speculative_tokens": 3}'},
        {"extra_args": ["--allow-credentials", "--seed", "1", "--tokenizer=org/model", "-tp", "2", '{"a": 1}']},
        {"lora_modules": ["sql=/models/sql", "a=org/b"], "served_model_name": ["a", "b:c"]},
        {"otlp_traces_endpoint": "http://collector:4317/v1?a=b", "limit_mm_per_prompt": "image=3,video=2"},
    ],
    ids=str,
)
def test_what_is_no_credential_stays_as_it_is(config: dict[str, Any]) -> None:
    assert first_credential(config) is None
    assert without_credentials(config) == config


def test_what_is_too_deep_to_be_looked_through_is_refused_and_hidden() -> None:
    deep: Any = "x"
    for _ in range(MAX_DEPTH + 10):
        deep = {"a": [deep]}
    assert first_credential({"x": deep}) == "config is nested too deeply"
    assert without_credentials({"x": deep}) == {"x": HIDDEN}


def test_text_is_shown_without_what_has_the_form_of_a_credential() -> None:
    text = f"token {HF}, proxy http://me:{VALUE}@proxy:3128, key sk-{'a1' * 12}, hf_transfer, model org/hf_small"
    assert hidden_in(text) == (
        f"token {HIDDEN}, proxy http://{HIDDEN}@proxy:3128, key {HIDDEN}, hf_transfer, model org/hf_small"
    )


def test_a_long_name_is_no_credential_and_is_shown_whole() -> None:
    assert without_credentials({"x" * 500: 1}) == {"x" * 500: 1}
    assert first_credential({"x" * 500: 1}) is None
    assert first_credential({"x" * 500 + "_password": "p"}) is not None


@pytest.mark.parametrize("config", [{"api_key": "k"}, {"api-key": ["k"]}, {"extra_args": ["--api-key=k"]}], ids=str)
def test_the_refusal_of_an_api_key_ends_with_how_to_keep_ones_own(config: dict[str, Any]) -> None:
    said = first_credential(config) or ""
    assert said.startswith("config.") and said.endswith("to keep a key of your own, set env VLLM_API_KEY")
