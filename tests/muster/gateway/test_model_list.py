"""The models that a key may use."""

from __future__ import annotations

import json

import pytest

from muster.gateway.model_list import allowed, listed, one
from muster.gateway.openai_errors import OpenAIError
from tests.fixtures.gateway_world import caller


def test_a_key_without_models_may_use_all() -> None:
    assert allowed(caller(), ["a", "b"]) == ["a", "b"]
    assert allowed(caller(models=["b", "gone"]), ["a", "b"]) == ["b"]


def test_the_list_and_each_model_are_as_openai_writes_them() -> None:
    found = json.loads(listed(caller(), ["a"]))
    assert found == {"object": "list", "data": [json.loads(one(caller(), ["a"], "a"))]}
    assert found["data"][0] == {"id": "a", "object": "model", "created": 0, "owned_by": "muster"}


def test_a_model_of_others_looks_as_if_it_were_not_there() -> None:
    with pytest.raises(OpenAIError, match="no model runs") as error:
        one(caller(models=["b"]), ["a"], "a")
    assert error.value.code == "model_not_found"
