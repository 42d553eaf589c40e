"""The routes of gateways over the app: credentials, conditional answers, and what a worker asks for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.database import Recorder
from tests.fixtures.operators import Operators


@pytest.fixture
def operators(database: Recorder, tmp_path: Any) -> Operators:
    return Operators(tmp_path)


def test_a_gateway_registers_is_listed_and_leaves(operators: Operators) -> None:
    client = operators.client()
    assert client.gateways() == []
    assert client.usage().rows == []
    made = client.create_key("edge", "gateway")
    assert [key.role for key in client.api_keys("gateway")] == ["gateway"] and made.role == "gateway"
