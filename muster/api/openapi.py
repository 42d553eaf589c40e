"""The OpenAPI document: made from the endpoints, their types and the error codes, and from nothing else.

Each operation lists the errors that it may answer with and no others: a document that allows everything tells a client
nothing, and no test could find the API in breach of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args, get_origin

import msgspec

from muster.api import errors
from muster.api.endpoints import ENDPOINTS, Access, Endpoint
from muster.api.messages import OUTPUTS
from muster.api.resources import Accepted, ErrorBody

JSON = "application/json"
REF = "#/components/schemas/{name}"
WHO = {
    Access.ANYONE: "No credential.",
    Access.WORKER: "The worker's own token.",
    Access.VIEWER: "An API key: viewer, operator or admin.",
    Access.OPERATOR: "An API key: operator or admin.",
    Access.ADMIN: "An API key: admin.",
    Access.GATEWAY: "An API key: gateway.",
}

MISSING = {
    "worker_id": ("WORKER_NOT_FOUND",),
    "deployment_id": ("DEPLOYMENT_NOT_FOUND",),
    "command_id": ("OPERATION_NOT_FOUND",),
    "operation_id": ("OPERATION_NOT_FOUND",),
    "container_id": ("CONTAINER_NOT_FOUND",),
    "image_id": ("IMAGE_NOT_FOUND",),
    "model": ("MODEL_NOT_FOUND",),
    "token_id": ("TOKEN_NOT_FOUND",),
    "key_id": ("KEY_NOT_FOUND",),
    "gateway_id": (),
}
"""Path parameter to the error codes of an id that names nothing."""

CONFLICTS = {
    "register": ("WORKER_NAME_IN_USE",),
    "report": ("ILLEGAL_TRANSITION",),
    "result": ("ILLEGAL_TRANSITION",),
    "remove_worker": ("WORKER_NOT_EMPTY",),
    "create_deployment": ("DEPLOYMENT_NAME_IN_USE",),
    "patch_deployment": ("ILLEGAL_TRANSITION",),
    "delete_deployment": ("ILLEGAL_TRANSITION",),
    "stop_deployment": ("ILLEGAL_TRANSITION",),
    "start_deployment": ("ILLEGAL_TRANSITION",),
    "restart_deployment": ("ILLEGAL_TRANSITION",),
    "cancel_operation": ("ILLEGAL_TRANSITION",),
    "delete_image": ("IMAGE_IN_USE",),
}


@cache
def document(version: str) -> dict[str, Any]:
    """OpenAPI 3.1 for every endpoint, with `version` as the API's."""
    types = {struct(t) for e in ENDPOINTS for t in (e.answer, e.body, e.query, e.or_answer, e.or_body) if t}
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
            "securitySchemes": {
                "api_key": {"type": "http", "scheme": "bearer", "description": "An API key, by its role."},
                "worker_token": {"type": "http", "scheme": "bearer", "description": "What register answered with."},
            },
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
    operation["security"] = [{scheme: []} for scheme in _schemes(endpoint)]
    if endpoint.body:
        operation["requestBody"] = {"required": True, "content": _json(endpoint.body, endpoint.or_body)}
    return operation


def _schemes(endpoint: Endpoint) -> list[str]:
    if endpoint.access is Access.ANYONE:
        return []
    if endpoint.access is Access.WORKER:
        return ["worker_token"]
    return ["api_key", "worker_token"] if endpoint.own_worker else ["api_key"]


def _parameters(endpoint: Endpoint, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    text = {"type": "string", "minLength": 1}
    named = re.findall(r"{(\w+)}", endpoint.path)
    found: list[dict[str, Any]] = [{"name": n, "in": "path", "required": True, "schema": text} for n in named]
    if endpoint.query:
        properties = schemas[endpoint.query.__name__]["properties"]
        found += [{"name": n, "in": "query", "required": False, "schema": _given(s)} for n, s in properties.items()]
    if endpoint.idempotent:
        found.append({"name": "Idempotency-Key", "in": "header", "required": False, "schema": text})
    return found


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a query parameter that is given: there is no null in a query string."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    return kinds[0] if len(kinds) == 1 else schema


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    content = (
        _json(endpoint.answer, endpoint.or_answer)
        if endpoint.media == JSON
        else {endpoint.media: {"schema": {"type": "string"}}}
    )
    answers: dict[str, Any] = {str(endpoint.status): {"description": "Done", "content": content}}
    if endpoint.waits:
        answers["202"] = {"description": "Not answered yet: ask the operation", "content": _json(Accepted)}
    codes: dict[int, list[str]] = {}
    for code in sorted(set(_codes(endpoint)), key=list(errors.STATUS).index):
        codes.setdefault(errors.STATUS[code], []).append(code)
    for status, names in codes.items():
        answers[str(status)] = {"description": ", ".join(names), "content": _error(names)}
    if endpoint.waits:
        described = {"description": "the worker's own error_code", "content": _json(ErrorBody)}
        answers[str(errors.WORKER_FAILED)] = described
    return answers


def _codes(endpoint: Endpoint) -> Iterator[str]:
    """What can go wrong there."""
    yield from ("INVALID_REQUEST", "INTERNAL_ERROR", "UNAVAILABLE")
    if endpoint.method != "GET":
        yield "PAYLOAD_TOO_LARGE"
    if endpoint.access is not Access.ANYONE:
        yield from ("UNAUTHENTICATED", "FORBIDDEN")
    if endpoint.access is Access.WORKER or endpoint.own_worker:
        yield from ("SESSION_SUPERSEDED", "WORKER_REMOVED")
    if endpoint.name == "register":
        yield from ("UNAUTHENTICATED", "SESSION_SUPERSEDED", "WORKER_REMOVED")
    if endpoint.waits:
        yield from ("WORKER_OFFLINE", "CONTAINER_NOT_FOUND", "IMAGE_NOT_FOUND", "MODEL_NOT_FOUND", "IMAGE_IN_USE")
    if endpoint.idempotent:
        yield "IDEMPOTENCY_MISMATCH"
    if endpoint.name == "create_deployment" or endpoint.name == "patch_deployment":
        yield "WORKER_NOT_FOUND"
    for name in re.findall(r"{(\w+)}", endpoint.path):
        yield from MISSING[name]
    yield from CONFLICTS.get(endpoint.name, ())


def _error(codes: list[str]) -> dict[str, Any]:
    one_of = {"properties": {"error_code": {"enum": codes}}}
    return {JSON: {"schema": {"allOf": [{"$ref": REF.format(name="ErrorBody")}, one_of]}}}


def _json(type_: Any, other: type | None = None) -> dict[str, Any]:
    """The content of a body that is of one type, or of either."""
    if other is not None:
        return {JSON: {"schema": {"anyOf": [_schema(type_), _schema(other)]}}}
    return {JSON: {"schema": _schema(type_)}}


def _schema(type_: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"$ref": REF.format(name=struct(type_).__name__)} if type_ else {"type": "object"}
    return schema if struct(type_) is type_ else {"type": "array", "items": schema}


def struct(type_: Any) -> Any:
    """Of a list, what it is a list of."""
    return get_args(type_)[0] if get_origin(type_) is list else type_
