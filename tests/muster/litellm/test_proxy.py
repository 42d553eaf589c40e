"""A LiteLLM proxy through its own API; tests/litellm asks the real one."""

from __future__ import annotations

import pytest

from muster.litellm.proxy import LiteLLM, LiteLLMError
from muster.litellm.sync_plan import Model
from tests.fixtures.fake_litellm import KEY, NOWHERE, FakeLiteLLM


def test_an_owner_sees_its_own_models_alone_and_may_delete_one_twice(proxy: FakeLiteLLM) -> None:
    proxy.models = {"theirs": {"model_name": "x", "model_info": {"id": "theirs"}}}
    mine, other = LiteLLM(proxy.url, KEY, "me"), LiteLLM(proxy.url, KEY, "another")
    model = Model("m", "http://x/v1", "k", "d")
    mine.add(model)
    assert (mine.own(), other.own()) == ([model.id], [])
    assert proxy.models[model.id]["litellm_params"] == {
        "model": "hosted_vllm/m",
        "api_base": "http://x/v1",
        "api_key": "k",
    }
    mine.delete(model.id)
    mine.delete(model.id)
    assert list(proxy.models) == ["theirs"]


def test_a_refusal_and_a_silence_of_litellm_are_named(proxy: FakeLiteLLM) -> None:
    with pytest.raises(LiteLLMError, match=r"401.*Authentication Error"):
        LiteLLM(proxy.url, "sk-bad", "me").add(Model("m", "http://x/v1", "k", "d"))
    with pytest.raises(LiteLLMError, match=r"does not answer at http://127\.0\.0\.1:9"):
        LiteLLM(NOWHERE, KEY, "me").own()
