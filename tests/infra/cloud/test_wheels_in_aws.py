"""Hosts get their wheels from the functions' archive and the bucket: what is answered, and where it leads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from chalicelib.routes import wheels
from infra.cloud.artefacts import Bucket
from infra.cloud.session import Account as Where
from infra.wheelhouse import here
from tests.fixtures.waiting import PATIENCE
from tests.infra.cloud import minimal_stage
from tests.infra.cloud.emulated import Cloud
from tests.infra.cloud.lambda_emulator import Form
from tests.infra.cloud.moto_account import NUMBER, REGION, NewAccount

BYTES = {"Accept": "application/octet-stream"}


@pytest.fixture(scope="module")
def s3(new_account: NewAccount, wheelhouse: Path, wheel_served: Path) -> tuple[str, str]:
    """The URL of S3, and a bucket with the wheels."""
    account = new_account(minimal_stage.build)
    bucket = Bucket(Where(NUMBER, REGION, account.client, {}))
    bucket.ensure()
    bucket.put_wheels(wheelhouse, wheels.lock().wheels)
    bucket.put_wheels(wheel_served.parent, filter(None, [wheels.own()]))
    return account.aws["AWS_ENDPOINT_URL"], bucket.name


@pytest.fixture(params=["http", "rest"])
def deployed(request: pytest.FixtureRequest, cloud: Callable[..., Cloud], s3: tuple[str, str]) -> Cloud:
    form: Form = request.param
    return cloud(form, AWS_ENDPOINT_URL_S3=s3[0], MUSTER_WHEEL_BUCKET=s3[1])


def ask(url: str, path: str) -> requests.Response:
    return requests.get(f"{url}{path}", headers=BYTES, allow_redirects=False, timeout=PATIENCE)


def test_every_file_of_a_list_is_there_with_its_digest(deployed: Cloud) -> None:
    listed = ask(deployed.url, f"/wheels/requirements-{here()}.txt")
    assert listed.status_code == 200 and listed.headers["content-type"].startswith("text/plain")
    lines = listed.text.splitlines()[1:]
    assert len(lines) == len(wheels.lock().of(here())) + 1
    for line in lines:
        digest, _, file = line.partition("sha256:")[2].partition("  # ")
        answer = ask(deployed.url, f"/wheels/{file}")
        assert (answer.status_code, answer.headers["cache-control"]) == (302, "no-store")
        location = answer.headers["location"]
        key = f"/wheels/{digest}/{file}" if line == lines[-1] else f"/wheels/{file}"
        assert urlsplit(location).path.endswith(key) and "X-Amz-Expires=300" in location
        content = requests.get(location, headers=BYTES, timeout=PATIENCE).content
        assert hashlib.sha256(content).hexdigest() == digest


def test_the_own_wheel_is_at_the_address_that_people_type_too(deployed: Cloud) -> None:
    answer = ask(deployed.url, "/muster.whl")
    assert answer.status_code == 302
    found = requests.get(answer.headers["location"], headers=BYTES, timeout=PATIENCE)
    content, own = found.content, wheels.own()
    assert own is not None and found.headers["content-disposition"] == f'attachment; filename="{own.file}"'
    assert hashlib.sha256(content).hexdigest() == own.sha256


@pytest.mark.parametrize("name", ["..%2Fprod%2Ftemplate.json", "prod", "unknown-1-py3-none-any.whl", "wheels.lock"])
def test_no_other_object_gets_a_url(deployed: Cloud, name: str) -> None:
    answer = ask(deployed.url, f"/wheels/{name}")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "ROUTE_NOT_FOUND")
    assert "location" not in answer.headers


def test_a_function_without_a_bucket_says_what_to_do(cloud: Callable[..., Cloud]) -> None:
    url = cloud("http").url
    assert ask(url, f"/wheels/requirements-{here()}.txt").status_code == 200
    answer = ask(url, f"/wheels/{wheels.lock().of(here())[0].file}")
    assert answer.status_code == 404 and "make wheelhouse" in answer.json()["message"]
