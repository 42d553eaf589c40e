"""Errors as DynamoDB reports them, before the client gives them to botocore's callers."""

from __future__ import annotations

from typing import Any

CONDITION_FAILED = "ConditionalCheckFailedException"


class Refused(Exception):
    """A request that changed nothing. `more` are the fields of the error beside its code and message."""

    def __init__(self, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.more = code, message, more


def invalid(message: str) -> Refused:
    """A ValidationException."""
    return Refused("ValidationException", message)


def invalid_parameter(message: str) -> Refused:
    """A ValidationException about the value of a parameter."""
    return invalid(f"One or more parameter values were invalid: {message}")


def no_table(name: str = "") -> Refused:
    detail = f": Table: {name} not found" if name else ""
    return Refused("ResourceNotFoundException", f"Requested resource not found{detail}")
