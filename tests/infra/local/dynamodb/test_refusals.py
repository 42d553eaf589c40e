"""Errors have DynamoDB's codes."""

from __future__ import annotations

from infra.local.dynamodb.refusals import Refused, invalid, invalid_parameter, no_table


def test_codes_and_messages() -> None:
    assert invalid("a").code == invalid_parameter("a").code == "ValidationException"
    assert invalid_parameter("a").message == "One or more parameter values were invalid: a"
    assert (no_table().code, no_table().message) == ("ResourceNotFoundException", "Requested resource not found")
    assert no_table("things").message == "Requested resource not found: Table: things not found"
    assert Refused("Code", "text", Item={}).more == {"Item": {}}
