"""`chalice deploy` as it comes, over the data that `make deploy DATA_ONLY=1` made, in an account that is moto's."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import app
from infra.cloud.access import FILES
from infra.cloud.gateway import SAID
from tests.fixtures import ROOT
from tests.infra.cloud.conftest import NewAccount
from tests.infra.cloud.moto_stage import Stage

ZIP_AT_MOST = 2_000_000


@pytest.fixture(scope="module")
def project(wheel_served: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: chalice keeps what it deployed beside the code."""
    copy = tmp_path_factory.mktemp("clone") / "muster"
    left_out = shutil.ignore_patterns(".venv*", ".git", ".*_cache", ".hypothesis", "__pycache__", "build", "deploy*ed")
    shutil.copytree(ROOT, copy, ignore=left_out, symlinks=True)
    (copy / ".venv").symlink_to(Path(sys.executable).parents[1])
    return copy


@pytest.fixture(scope="module")
def stage(project: Path, packaged: Path, new_account: NewAccount) -> Iterator[Stage]:
    account = new_account(lambda stage, folder, rest: packaged)
    done = account.follow("chalice", project=project)
    (url,) = re.findall(r"^ +- Rest API URL: (\S+)$", done.stdout, re.M)
    (key,) = re.findall(r"^Admin API key +(mst_key_\S+)$", done.stdout, re.M)
    with Stage(account, url, key, done.stdout + done.stderr) as stage:
        yield stage


@pytest.fixture(scope="module")
def rest_api(stage: Stage) -> dict[str, Any]:
    (api,) = stage.aws("apigateway").get_rest_apis()["items"]
    found: dict[str, Any] = api
    return found


def test_the_key_opens_the_api_over_the_stages_tables(stage: Stage) -> None:
    assert stage.ask("GET", "/api/whoami") == (200, {"name": "first admin", "role": "admin"})
    for each in stage.functions().values():
        assert each["Environment"]["Variables"]["MUSTER_TABLE_PREFIX"] == "muster-prod-"


def test_the_url_has_api_once(stage: Stage, rest_api: dict[str, Any]) -> None:
    assert re.fullmatch(rf"https://{rest_api['id']}\.execute-api\.\S+/muster/", stage.url)


def test_the_rest_api_has_every_route(stage: Stage, rest_api: dict[str, Any]) -> None:
    resources = stage.aws("apigateway").get_resources(restApiId=rest_api["id"], limit=500)["items"]
    methods = {each["path"]: set(each["resourceMethods"]) for each in resources if each.get("resourceMethods")}
    for path, routes in app.routes.items():
        assert methods[path] >= routes.keys(), path


def test_the_gateways_own_errors_are_in_our_shape(stage: Stage, rest_api: dict[str, Any]) -> None:
    found = stage.aws("apigateway").get_gateway_responses(restApiId=rest_api["id"])["items"]
    said = {each["responseType"]: json.loads(each["responseTemplates"]["application/json"]) for each in found}
    assert {kind: (body["error_code"], body["message"]) for kind, body in said.items()} == SAID


def test_the_functions_have_the_limits_and_policies_that_are_written_in_dot_chalice(stage: Stage) -> None:
    assert "Could not install" not in stage.shown
    functions = stage.functions().values()
    assert {each["Timeout"] for each in functions} == {29, 60}
    assert all(each["Architectures"] == ["arm64"] for each in functions)
    iam = stage.aws("iam")
    given = [
        iam.get_role_policy(RoleName=role["RoleName"], PolicyName=name)["PolicyDocument"]
        for role in iam.list_roles()["Roles"]
        for name in iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]
    ]
    written = [json.loads((ROOT / ".chalice" / name).read_text()) for name in FILES]
    assert sorted(given, key=str) == sorted(written, key=str)


def test_the_archive_has_no_botocore(stage: Stage) -> None:
    sizes = {each["CodeSize"] for each in stage.functions().values()}
    assert max(sizes) < ZIP_AT_MOST


def test_the_sweep_is_scheduled(stage: Stage) -> None:
    (rule,) = stage.aws("events").list_rules()["Rules"]
    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(1 minute)", "ENABLED")
