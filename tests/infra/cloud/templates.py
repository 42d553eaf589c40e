"""Reads the templates of a packaged stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def template(folder: Path, name: str) -> Json:
    found: Json = json.loads((folder / f"{name}.json").read_text())
    return found


def of_type(stack: Json, kind: str) -> dict[str, Json]:
    """The properties of the stack's resources of this type, by name."""
    return {name: each["Properties"] for name, each in stack["Resources"].items() if each["Type"] == kind}


def create_tables(dynamodb: Any, data: Json) -> None:
    """The tables of a data stack, as far as their items need them."""
    later = {"TimeToLiveSpecification", "PointInTimeRecoverySpecification", "SSESpecification"}
    for properties in of_type(data, "AWS::DynamoDB::Table").values():
        dynamodb.create_table(**{name: value for name, value in properties.items() if name not in later})
