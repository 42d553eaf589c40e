"""The functions' archive: what is in it, and that it runs where nothing else is."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.session import Session

from infra.cloud.archive import KNOWN, LAMBDA, OWN, NotPackaged, Runtime
from infra.cloud.package import build
from tests.fixtures.counting_dynamodb import CountingDynamoDB

LAMBDA_HAS = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3")
"""Beside Python's own library."""
HERE = Runtime(
    f"python{sys.version_info.major}.{sys.version_info.minor}",
    {"aarch64": "arm64"}.get(platform.machine(), platform.machine()),
)
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
REGION = {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
"""Lambda sets both; botocore reads the second."""
INVOKE = "import json, sys; import app; print(json.dumps(app.app(json.load(sys.stdin), None)))"


MAIN = "app.pyc" if LAMBDA.python == OWN else "app.py"


def names(folder: Path) -> list[str]:
    with zipfile.ZipFile(folder / "deployment.zip") as archive:
        return archive.namelist()


def test_it_is_small_and_has_what_the_functions_need_and_nothing_else(packaged: Path) -> None:
    found = names(packaged)
    assert (packaged / "deployment.zip").stat().st_size < 1_000_000
    assert {name.split("/")[0] for name in found} == {MAIN, "chalice", "chalicelib", "msgspec", "pynamodb"}
    assert "chalicelib/console/index.html" in found and "chalicelib/static/join.sh" in found
    assert any(name.startswith("chalicelib/static/muster-") and name.endswith(".whl") for name in found)
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


def test_what_pip_does_not_find_ends_it(tmp_path: Path, wheel_served: Path) -> None:
    with pytest.raises(NotPackaged, match="msgspec"):
        build("prod", tmp_path, runtime=Runtime("python3.2"))


@pytest.fixture(scope="module")
def bare(wheel_served: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive for this machine, unpacked beside what Lambda's Python brings."""
    folder = tmp_path_factory.mktemp("lambda")
    built = build("prod", folder / "build", runtime=HERE)
    shutil.unpack_archive(built / "deployment.zip", folder / "task")
    (folder / "runtime").mkdir()
    for name in LAMBDA_HAS:
        spec = importlib.util.find_spec(name)
        assert spec and spec.origin
        where = Path(spec.origin)
        found = where.parent if where.name == "__init__.py" else where
        (folder / "runtime" / found.name).symlink_to(found)
    return folder


@pytest.fixture(scope="module")
def database(bare: Path) -> Iterator[CountingDynamoDB]:
    """With the tables of data.json."""
    server = CountingDynamoDB()
    server.start()
    client: Any = Session().create_client(
        "dynamodb", "us-east-1", endpoint_url=server.url, aws_access_key_id="test", aws_secret_access_key="test"
    )
    template = json.loads((bare / "build" / "data.json").read_text())
    later = {"TimeToLiveSpecification", "PointInTimeRecoverySpecification", "SSESpecification"}
    for table in template["Resources"].values():
        properties = table["Properties"]
        client.create_table(**{name: value for name, value in properties.items() if name not in later})
    yield server
    server.stop()


def invoke(bare: Path, database: str, event: dict[str, Any]) -> dict[str, Any]:
    environment = (
        CREDENTIALS
        | REGION
        | {
            "AWS_ENDPOINT_URL_DYNAMODB": database,
            "MUSTER_TABLE_PREFIX": "muster-prod-",
            "PYTHONPATH": os.pathsep.join([str(bare / "task"), str(bare / "runtime")]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", INVOKE],
        cwd=bare / "task",
        env=environment,
        input=json.dumps(event),
        capture_output=True,
        text=True,
        timeout=120,
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


def test_it_answers_where_nothing_else_is(bare: Path, database: CountingDynamoDB) -> None:
    answer = invoke(bare, database.url, get("/api/health"))
    assert answer["statusCode"] == 200, answer
    assert database.calls, "the answer comes from the database"


def test_without_its_database_it_says_so(bare: Path) -> None:
    answer = invoke(bare, "http://127.0.0.1:9", get("/api/health"))
    assert answer["statusCode"] == 503, answer


def test_it_serves_the_wheel_that_is_in_it(bare: Path) -> None:
    answer = invoke(bare, "http://127.0.0.1:9", get("/muster.whl", accept="application/octet-stream"))
    assert (answer["statusCode"], answer["isBase64Encoded"]) == (200, True)
