"""The OpenAPI document: made from the endpoints, their types and the error codes, and from nothing else."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, get_args, get_origin

import msgspec

from chalicelib.contract import errors
from chalicelib.contract.endpoints import ENDPOINTS, Access, Endpoint
from chalicelib.contract.messages import OUTPUTS
from chalicelib.contract.resources import Accepted, ErrorBody

JSON = "application/json"
REF = "#/components/schemas/{name}"
WHO = {
    Access.ANYONE: "No credential.",
    Access.WORKER: "The worker's own token.",
    Access.VIEWER: "An API key: viewer, operator or admin.",
    Access.OPERATOR: "An API key: operator or admin.",
    Access.ADMIN: "An API key: admin.",
}


@cache
def document(version: str) -> dict[str, Any]:
    """OpenAPI 3.1 for every endpoint, with `version` as the API's."""
    types = {struct(t) for e in ENDPOINTS for t in (e.answer, e.body, e.query) if t}
    types |= {Accepted, ErrorBody, *OUTPUTS.values()}
    _, schemas = msgspec.json.schema_components(sorted(types, key=lambda t: t.__name__), ref_template=REF)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Muster", "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    who = WHO[endpoint.access] + (" Or the worker's own token." if endpoint.own_worker else "")
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": who,
        "parameters": _parameters(endpoint, schemas),
        "responses": _responses(endpoint),
    }
    if endpoint.access is not Access.ANYONE:
        operation["security"] = [{"bearer": []}]
    if endpoint.body:
        operation["requestBody"] = {"required": True, "content": _json(endpoint.body)}
    return operation


def _parameters(endpoint: Endpoint, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    text = {"type": "string", "minLength": 1}
    named = re.findall(r"{(\w+)}", endpoint.path)
    found: list[dict[str, Any]] = [{"name": n, "in": "path", "required": True, "schema": text} for n in named]
    if endpoint.query:
        properties = schemas[endpoint.query.__name__]["properties"]
        found += [{"name": n, "in": "query", "required": False, "schema": s} for n, s in properties.items()]
    if endpoint.idempotent:
        found.append({"name": "Idempotency-Key", "in": "header", "required": False, "schema": text})
    return found


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    content = _json(endpoint.answer) if endpoint.media == JSON else {endpoint.media: {"schema": {"type": "string"}}}
    answers: dict[str, Any] = {str(endpoint.status): {"description": "Done", "content": content}}
    if endpoint.waits:
        answers["202"] = {"description": "Not answered yet: ask the operation", "content": _json(Accepted)}
    codes: dict[int, list[str]] = {}
    for code, status in errors.STATUS.items():
        codes.setdefault(status, []).append(code)
    if endpoint.waits:
        codes[errors.WORKER_FAILED] = ["the worker's own error_code"]
    for status, names in codes.items():
        answers[str(status)] = {"description": ", ".join(names), "content": _json(ErrorBody)}
    return answers


def _json(type_: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"$ref": REF.format(name=struct(type_).__name__)} if type_ else {"type": "object"}
    return {JSON: {"schema": schema if struct(type_) is type_ else {"type": "array", "items": schema}}}


def struct(type_: Any) -> Any:
    """Of a list, what it is a list of."""
    return get_args(type_)[0] if get_origin(type_) is list else type_
