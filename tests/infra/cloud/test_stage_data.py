"""The data of a stage, as `chalice deploy` makes it: once, and found again by the next."""

from __future__ import annotations

import pytest

from infra.cloud import stage_data
from tests.infra.cloud.moto_account import Account, NewAccount


@pytest.fixture(scope="module")
def account(new_account: NewAccount) -> Account:
    return new_account(lambda stage, folder, rest: folder)


@pytest.fixture
def _signed_in(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in account.variables.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("_signed_in")
def test_the_data_is_made_once_with_a_key_and_the_wheels(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    bucket = stage_data.make_data("dev")
    first = capsys.readouterr()
    assert "Admin API key  mst_key_" in first.out and "wheels for hosts uploaded" in first.err
    assert stage_data.make_data("dev") == bucket
    second = capsys.readouterr()
    assert (second.out, "has the wheels for hosts" in second.err) == ("", True)
    assert "is there; for a lost one: make admin-key STAGE=dev" in second.err
    stacks = account.client("cloudformation").describe_stacks()["Stacks"]
    assert [stack["StackName"] for stack in stacks] == [stage_data.data_stack("dev")] == ["muster-dev-data"]
    assert account.client("s3").list_objects_v2(Bucket=bucket, Prefix="wheels/")["KeyCount"] > 0
