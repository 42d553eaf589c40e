"""Whose account it is: asked once, refused if it is another, and handed on to processes as it is."""

from __future__ import annotations

import pytest
from botocore.exceptions import NoRegionError
from click.testing import CliRunner

from infra.cloud.errors import Misuse
from infra.cloud.session import Account, connect
from tests.infra.cloud import minimal_stage
from tests.infra.cloud.moto_account import NUMBER, REGION, NewAccount
from tests.infra.cloud.moto_account import Account as MotoAccount


@pytest.fixture(scope="module")
def moto_account(new_account: NewAccount) -> MotoAccount:
    return new_account(minimal_stage.build)


def connected(account: MotoAccount, expected: str | None = None, **variables: str | None) -> Account:
    """What `connect` returns with the account's variables, and others set or (None) unset."""
    with CliRunner().isolation(env={**account.variables, **variables}):
        return connect(expected)


def test_number_and_region_are_of_whoever_the_credentials_are(moto_account: MotoAccount) -> None:
    found = connected(moto_account)
    assert (found.number, found.region) == (NUMBER, REGION)
    assert connected(moto_account, expected=NUMBER).number == NUMBER


def test_another_account_than_expected_is_refused(moto_account: MotoAccount) -> None:
    with pytest.raises(Misuse, match=f"of account {NUMBER}, not of 210987654321: nothing was touched"):
        connected(moto_account, expected="210987654321")


def test_without_a_region_nobody_is_asked(moto_account: MotoAccount) -> None:
    with pytest.raises(NoRegionError):
        connected(moto_account, AWS_REGION=None)


def test_a_client_is_made_once_for_each_service(moto_account: MotoAccount) -> None:
    found = connected(moto_account)
    assert found.client("sts") is found.client("sts") and found.client("s3") is not found.client("sts")
    assert found.client("s3").meta.region_name == REGION


def test_a_process_gets_the_same_credentials_and_no_profile(moto_account: MotoAccount) -> None:
    found = connected(moto_account, AWS_SESSION_TOKEN="a token", AWS_DEFAULT_PROFILE=None).environment
    assert (found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"]) == ("made-up", "made-up")
    assert (found["AWS_SESSION_TOKEN"], found["AWS_DEFAULT_REGION"]) == ("a token", REGION)
    assert "AWS_PROFILE" not in found
