"""The document against the routes, in both directions; and the routes against the contract."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest

from muster.api.openapi import document
from tests.fixtures.database import Recorder


@pytest.fixture(scope="module")
def app() -> Any:
    os.environ.pop("MUSTER_STAGE", None)
    import app

    return app.app


def test_every_route_is_in_the_document_and_every_path_of_it_is_a_route(app: Any) -> None:
    routes = {(path, method) for path, methods in app.routes.items() for method in methods}
    documented = {(path, m.upper()) for path, methods in document("x")["paths"].items() for m in methods}
    pages = {("/join.sh", "GET"), ("/muster.whl", "GET"), ("/wheels/{name}", "GET")}
    console = {"/", "/console/{version}/{name}", "/console/{version}/vendor/{name}"}
    pages |= {(path, method) for path in console for method in ("GET", "HEAD")}
    assert routes == documented | pages, "beside the API are the pages of docs/adr/0011, 0017, and 0035 alone"


def test_every_reference_resolves() -> None:
    text = msgspec.json.encode(document("x")).decode()
    schemas = document("x")["components"]["schemas"]
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(schemas)


def test_the_document_is_served(app: Any, database: Recorder) -> None:
    from chalice.config import Config
    from chalice.local import LocalGateway

    answer = LocalGateway(app, Config()).handle_request("GET", "/api/openapi.json", {}, None)
    assert msgspec.json.decode(answer["body"])["info"]["title"] == "Muster"
