"""What was sent, as the contract's types; and what is wrong with it, in words that repeat nothing that was sent."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, TypeVar

import msgspec

from muster.api.errors import ApiError

MAX_BODY_BYTES = 1024 * 1024
S = TypeVar("S", bound=msgspec.Struct)
_FIELD = r"[a-z_]{1,40}"


def body(raw: bytes, type_: type[S]) -> S:
    """A JSON body. Raises INVALID_REQUEST naming the field by its path, PAYLOAD_TOO_LARGE."""
    if len(raw) > MAX_BODY_BYTES:
        raise too_large()
    try:
        return msgspec.json.decode(raw, type=type_)
    except msgspec.ValidationError as error:
        raise _invalid(error, type_) from error
    except RecursionError as error:
        raise ApiError("INVALID_REQUEST", "body: nested too deeply") from error
    except ValueError as error:
        raise ApiError("INVALID_REQUEST", "body: expected a JSON object in UTF-8") from error


def too_large() -> ApiError:
    return ApiError("PAYLOAD_TOO_LARGE", "body: expected at most 1 MiB")


def query(given: dict[str, str], type_: type[S]) -> S:
    """A query string; unknown parameters are ignored. Raises INVALID_REQUEST naming the parameter."""
    try:
        return msgspec.convert(given, type_, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid(error, type_) from error


def _invalid(error: msgspec.ValidationError, type_: type[msgspec.Struct]) -> ApiError:
    """The field first: of "Expected `int`, got `str` - at `$.gpus`" it makes "gpus: expected int, got str"."""
    what, _, path = str(error).partition(" - at `$")
    path = path.rstrip("`").lstrip(".")
    what = f"{what[:1].lower()}{what[1:].replace('`', '')}"
    if what.startswith("invalid enum value"):
        what = "expected one of " + ", ".join(_allowed(type_, path))
    elif what.startswith("object contains unknown field"):
        name = what.rpartition(" ")[2]
        what = f"unknown field {name}" if re.fullmatch(_FIELD, name) else "unknown field"
    elif what.startswith("expected str matching regex"):
        what = "expected text of the form that this field has: " + what.partition("regex ")[2]
    return ApiError("INVALID_REQUEST", f"{path or 'body'}: {what}")


def _allowed(type_: type[msgspec.Struct], path: str) -> list[str]:
    """Returns the values of the enumeration at a path such as `status` or `env[...].from_host`."""
    schemas, schema = _schemas(type_)
    for name in re.sub(r"\[.*?\]", "", path).split("."):
        properties = (choice.get("properties", {}) for choice in _choices(schemas, schema))
        found = _resolved(schemas, next((part[name] for part in properties if name in part), {}))
        schema = found.get("items") or found.get("additionalProperties") or found
    values = [value for choice in _choices(schemas, schema) for value in choice.get("enum", [])]
    return [value if isinstance(value, str) else msgspec.json.encode(value).decode() for value in values]


def _choices(schemas: dict[str, Any], schema: Any) -> list[dict[str, Any]]:
    schema = _resolved(schemas, schema)
    return [schema, *(_resolved(schemas, branch) for branch in schema.get("anyOf", []))]


def _resolved(schemas: dict[str, Any], schema: Any) -> dict[str, Any]:
    schema = schema if isinstance(schema, dict) else {}
    referred: dict[str, Any] = schemas[schema["$ref"]] if "$ref" in schema else schema
    return referred


@cache
def _schemas(type_: type[msgspec.Struct]) -> tuple[dict[str, Any], dict[str, Any]]:
    (root,), schemas = msgspec.json.schema_components([type_], ref_template="{name}")
    return schemas, root
