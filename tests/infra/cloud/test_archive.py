"""The functions' archive: what is in it, and that it runs where nothing else is."""

from __future__ import annotations

import json
import marshal
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.session import Session

from chalicelib.routes import wheels
from infra.cloud.archive import KNOWN, LAMBDA, OWN, Runtime, compiled
from infra.cloud.package import build
from tests.fixtures.counting_dynamodb import CountingDynamoDB
from tests.infra.cloud.templates import create_tables, template

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
REGION = {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
"""Lambda sets both; botocore reads the second."""
Invoke = Callable[[str, dict[str, Any]], dict[str, Any]]
INVOKE = "import json, sys; import app; print(json.dumps(app.app(json.load(sys.stdin), None)))"


MAIN = "app.pyc" if LAMBDA.python == OWN else "app.py"


def names(folder: Path) -> list[str]:
    with zipfile.ZipFile(folder / "deployment.zip") as archive:
        return archive.namelist()


def test_it_is_small_and_has_what_the_functions_need_and_nothing_else(packaged: Path) -> None:
    found = names(packaged)
    assert (packaged / "deployment.zip").stat().st_size < 1_000_000
    assert {name.split("/")[0] for name in found} == {MAIN, "chalice", "chalicelib", "msgspec", "muster", "pynamodb"}
    assert {name.split("/")[1] for name in found if name.startswith("muster/")} == {"api"}
    assert "chalicelib/console/index.html" in found and "chalicelib/static/join.sh" in found
    assert "chalicelib/static/own-wheel" in found and not [name for name in found if name.endswith(".whl")]
    assert [name for name in found if name.endswith(".so")] == [
        f"msgspec/_core.cpython-{LAMBDA.python.removeprefix('python').replace('.', '')}-aarch64-linux-gnu.so"
    ]
    assert not [name for name in found if "__pycache__" in name or ".dist-info" in name]


def test_another_python_than_its_own_it_leaves_to_compile(tmp_path: Path, wheel_served: Path) -> None:
    another = next(each for each in KNOWN if each != OWN)
    found = names(build("prod", tmp_path, runtime=Runtime(another)))
    assert "app.py" in found and not [name for name in found if name.endswith(".pyc")]


def test_the_same_content_is_the_same_bytes(packaged: Path, packaged_rest: Path) -> None:
    assert (packaged / "deployment.zip").read_bytes() == (packaged_rest / "deployment.zip").read_bytes()


def test_a_compiled_module_is_the_same_bytes_whatever_else_its_process_has_loaded() -> None:
    source = b"bell = '\\x06'\n"  # no identifier: compiling does not intern it
    first = compiled(source, "module.py")
    sys.intern("\x06")
    assert compiled(source, "module.py") == first


def test_a_compiled_module_has_the_docstrings_of_classes_and_no_others() -> None:
    source = b'''"""Module."""
from __future__ import annotations
def function():
    """Function."""
class Kept:
    """Class."""
    async def method(self):
        """Method."""
        raise ValueError("line 9")
'''
    code = compiled(source, "module.py")
    names: dict[str, Any] = {}
    exec(marshal.loads(code[16:]), names)
    assert (names["__doc__"], names["function"].__doc__, names["Kept"].__doc__) == ("", "", "Class.")
    assert b"Method." not in code and names["Kept"].method.__code__.co_firstlineno == 7
    assert names["function"]() is None


@pytest.fixture(scope="module")
def database(packaged_here: Path) -> Iterator[CountingDynamoDB]:
    """With the tables of data.json."""
    server = CountingDynamoDB()
    server.start()
    client: Any = Session().create_client(
        "dynamodb", "us-east-1", endpoint_url=server.url, aws_access_key_id="test", aws_secret_access_key="test"
    )
    create_tables(client, template(packaged_here, "data"))
    yield server
    server.stop()


@pytest.fixture
def invoke(task: Path, brought: Path) -> Invoke:
    """Calls the app in the archive for this machine, beside what Lambda's Python brings and nothing else."""
    return partial(_invoked, task, brought)


def _invoked(task: Path, brought: Path, database: str, event: dict[str, Any]) -> dict[str, Any]:
    environment = (
        CREDENTIALS
        | REGION
        | {
            "AWS_ENDPOINT_URL_DYNAMODB": database,
            "MUSTER_TABLE_PREFIX": "muster-prod-",
            "PYTHONPATH": os.pathsep.join([str(task), str(brought)]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", INVOKE],
        cwd=task,
        env=environment,
        input=json.dumps(event),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def get(path: str, **headers: str) -> dict[str, Any]:
    """As a REST API says it."""
    return {
        "resource": path,
        "path": path,
        "httpMethod": "GET",
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {"resourcePath": path, "httpMethod": "GET", "path": f"/muster{path}", "stage": "muster"},
        "body": None,
        "isBase64Encoded": False,
    }


def test_it_answers_where_nothing_else_is(invoke: Invoke, database: CountingDynamoDB) -> None:
    answer = invoke(database.url, get("/api/health"))
    assert answer["statusCode"] == 200, answer
    assert database.calls, "the answer comes from the database"


def test_without_its_database_it_says_so(invoke: Invoke) -> None:
    answer = invoke("http://127.0.0.1:9", get("/api/health"))
    assert answer["statusCode"] == 503, answer


def test_it_names_the_own_wheel_that_the_bucket_has(invoke: Invoke) -> None:
    asked = get("/wheels/requirements-cp311-x86_64.txt", accept="application/octet-stream")
    own, answer = wheels.own(), invoke("http://127.0.0.1:9", asked)
    assert own is not None and answer["statusCode"] == 200
    assert answer["body"].splitlines()[-1] == own.requirement
