"""Every route has a handler in the module that the table names, and a cold start imports workers' handlers alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import NamedTuple

import pytest

from app import app
from chalicelib.routes import http, table
from muster.api.endpoints import ENDPOINTS, Endpoint
from tests.fixtures import ROOT

MODULES = 75
"""Of the control plane and the wire: those that a cold start may import."""
PROGRAM = """
import dataclasses, json, sys
from app import app
statuses = []
for path in sys.argv[1:]:
    context = {"httpMethod": "GET", "resourcePath": path}
    event = {"requestContext": context, "pathParameters": {"name": "a"}, "headers": {}}
    statuses.append(app(event, None)["statusCode"])
modules = {name: module for name, module in sys.modules.items() if name.startswith(("chalicelib", "muster"))}
classes = [(kind, name) for name, module in modules.items() for kind in vars(module).values() if isinstance(kind, type)]
dataclasses = [repr(kind) for kind, name in classes if dataclasses.is_dataclass(kind) and kind.__module__ == name]
print(json.dumps([statuses, list(sys.modules), dataclasses]), file=sys.stderr)
"""
LATER = {f"chalicelib.routes.{name}" for name in ("console", "host", "install", "operator", "register", "wheels")}


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_an_endpoint_has_its_handler_where_the_table_says(endpoint: Endpoint) -> None:
    assert http.HANDLERS[endpoint.name].__module__ == f"chalicelib.routes.{table.module_of(endpoint)}"


def test_there_are_no_other_handlers_and_no_other_routes() -> None:
    assert set(http.HANDLERS) == {endpoint.name for endpoint in ENDPOINTS}
    paths = [endpoint.path for endpoint in ENDPOINTS] + [page.path for page in table.PAGES]
    assert list(app.routes) == list(dict.fromkeys(paths))


class Started(NamedTuple):
    """A function that was started, and then answered these requests: the modules and dataclasses that it has."""

    statuses: list[int]
    modules: set[str]
    dataclasses: list[str]

    @classmethod
    def after(cls, *requests: str) -> Started:
        environment = {**os.environ, "AWS_LAMBDA_FUNCTION_NAME": "started"}
        command = [sys.executable, "-c", PROGRAM, *requests]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        statuses, modules, dataclasses = json.loads(done.stderr.splitlines()[-1])
        return cls(statuses, set(modules), dataclasses)


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("/api/openapi.json", {"operator"}),
        ("/join.sh", {"install", "wheels"}),
        ("/wheels/{name}", {"install", "wheels"}),
        ("/", {"console"}),
    ],
)
def test_a_module_is_imported_by_the_first_request_that_needs_it(path: str, needed: set[str]) -> None:
    started = Started.after(path)
    assert started.statuses in ([200], [404])
    assert started.modules & LATER == {f"chalicelib.routes.{name}" for name in needed}


def test_a_cold_start_imports_no_more_than_a_worker_needs() -> None:
    started = Started.after()
    assert not started.modules & LATER
    ours = {name for name in started.modules if name.partition(".")[0] in ("app", "chalicelib", "muster")}
    assert len(ours) <= MODULES, "each module is a file to find and read at every cold start: does a heartbeat need it?"
    assert not started.dataclasses, "muster.api.structs.Value costs a cold start less (docs/adr/0044)"
