"""What lies in the bucket has the digest of its content for a name, and the templates say where the code is."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from chalicelib.routes.wheels import Lock, Wheel
from infra.cloud.artefacts import Bucket, content_digest, with_code
from infra.cloud.session import Account as Where
from infra.cloud.stacks import Parameters, Stacks
from tests.infra.cloud import minimal_stage
from tests.infra.cloud.moto_account import NUMBER, REGION, Account, NewAccount


@pytest.fixture(scope="module")
def account(new_account: NewAccount) -> Account:
    return new_account(minimal_stage.build)


def archive(path: Path, year: int, **files: str) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, content in files.items():
            made.writestr(zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0)), content)
    return path


def test_archives_of_the_same_content_are_the_same(tmp_path: Path) -> None:
    first = content_digest(archive(tmp_path / "1", 2001, a="1", b="2"))
    assert content_digest(archive(tmp_path / "2", 2002, b="2", a="1")) == first
    others = [{"a": "1"}, {"a": "1", "b": "3"}, {"a": "1", "c": "2"}, {"a": "12", "b": ""}]
    assert first not in {content_digest(archive(tmp_path / "3", 2001, **files)) for files in others}


def test_code_beside_the_template_is_placed_and_nothing_else_is(tmp_path: Path) -> None:
    placed = {"S3Bucket": "there", "S3Key": "a.zip"}
    elsewhere = {"Type": "AWS::Lambda::Function", "Properties": {"Code": {"ZipFile": "pass"}}}
    template = {
        "Resources": {
            "Plain": {"Type": "AWS::Lambda::Function", "Properties": {"Code": "./deployment.zip", "Timeout": 29}},
            "Sam": {"Type": "AWS::Serverless::Function", "Properties": {"CodeUri": "./deployment.zip"}},
            "Inline": elsewhere,
            "Bare": {"Type": "AWS::SNS::Topic"},
        }
    }
    assert with_code(template, "there", "a.zip")["Resources"] == {
        "Plain": {"Type": "AWS::Lambda::Function", "Properties": {"Code": placed, "Timeout": 29}},
        "Sam": {"Type": "AWS::Serverless::Function", "Properties": {"CodeUri": {"Bucket": "there", "Key": "a.zip"}}},
        "Inline": elsewhere,
        "Bare": {"Type": "AWS::SNS::Topic"},
    }


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_the_bucket_is_made_once_in_every_region(account: Account, region: str) -> None:
    bucket = Bucket(Where(NUMBER, region, lambda service: account.client(service, region), {}))
    assert bucket.ensure() and not bucket.ensure()
    assert bucket.name == f"muster-artefacts-{NUMBER}-{region}"


def test_wheels_are_uploaded_once_under_their_names(account: Account, tmp_path: Path) -> None:
    bucket, s3 = Bucket(Where(NUMBER, REGION, account.client, {})), account.client("s3")
    bucket.ensure()
    lock = Lock(tuple(Wheel(f"{name}-1-py3-none-any.whl", "", frozenset()) for name in ("a", "b")))
    for each in lock.wheels:
        (tmp_path / each.file).write_text(each.file)
    (tmp_path / "other.whl").write_text("the lock does not name it")
    assert bucket.put_wheels(tmp_path, lock.wheels) == 2
    s3.delete_object(Bucket=bucket.name, Key="wheels/a-1-py3-none-any.whl")
    assert (bucket.put_wheels(tmp_path, lock.wheels), bucket.put_wheels(tmp_path, lock.wheels)) == (1, 0)
    found = [each["Key"] for each in s3.list_objects_v2(Bucket=bucket.name, Prefix="wheels/")["Contents"]]
    assert found == ["wheels/a-1-py3-none-any.whl", "wheels/b-1-py3-none-any.whl"]
    body = s3.get_object(Bucket=bucket.name, Key=found[1])["Body"].read()
    assert body == b"b-1-py3-none-any.whl"


def test_another_template_updates_the_stack(account: Account) -> None:
    bucket = Bucket(Where(NUMBER, REGION, account.client, {}))
    bucket.ensure()
    stacks = Stacks(account.client("cloudformation"), lambda _: None)

    def put(retention: int) -> str | None:
        group = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "g", "RetentionInDays": retention}}
        outputs = {"Days": {"Value": str(retention)}}
        url = bucket.put_template("s", {"Resources": {"Group": group}, "Outputs": outputs})
        done = stacks.put("muster-s-app", url, {}, holds_data=False)
        assert done.outputs == {"Days": str(retention)}
        return done.status

    assert [put(7), put(7), put(30), put(7)] == ["CREATE_COMPLETE"] * 2 + ["UPDATE_COMPLETE"] * 2


def test_a_parameter_that_is_not_given_stays_as_it_was(account: Account) -> None:
    bucket, shown = Bucket(Where(NUMBER, REGION, account.client, {})), list[str]()
    bucket.ensure()
    stacks = Stacks(account.client("cloudformation"), shown.append)

    def put(parameters: Parameters, description: str = "first") -> str:
        group = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "p"}}
        topic = {"Type": "String", "Default": "nobody"}
        outputs = {"Told": {"Value": {"Ref": "AlarmTopic"}}}
        template: dict[str, Any] = {
            "Parameters": {"AlarmTopic": topic},
            "Resources": {"Group": group},
            "Outputs": outputs,
        }
        template["Description"] = description
        return stacks.put("muster-p-app", bucket.put_template("p", template), parameters, holds_data=False).outputs[
            "Told"
        ]

    assert put({"AlarmTopic": None}) == "nobody"
    assert put({"AlarmTopic": "pager"}) == "pager"
    assert put({"AlarmTopic": None}, "other") == "pager"
    assert put({"AlarmTopic": "mail"}, "other") == "mail"
