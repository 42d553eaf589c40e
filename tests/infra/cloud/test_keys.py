"""Admin keys, written straight into a stage's table by a process that has its prefix."""

from __future__ import annotations

import pytest

from infra.cloud import data, keys
from infra.cloud.errors import Stop
from infra.cloud.session import Account
from tests.infra.cloud import minimal_stage
from tests.infra.cloud.moto_account import NUMBER, REGION, NewAccount
from tests.infra.cloud.templates import create_tables

TABLES = ["muster-keys-workers", "muster-keys-credentials"]


@pytest.fixture(scope="module")
def account(new_account: NewAccount) -> Account:
    """With the tables of the stage `keys`."""
    made = new_account(minimal_stage.build)
    create_tables(made.client("dynamodb"), data.template("keys"))
    return Account(NUMBER, REGION, made.client, made.environment | {"AWS_DEFAULT_REGION": REGION})


def test_the_first_key_is_made_once_and_another_whenever_it_is_asked_for(account: Account) -> None:
    first = keys.first(account, TABLES)
    assert first and str(first.key).startswith("mst_key_") and (first.name, first.role) == ("first admin", "admin")
    assert keys.first(account, TABLES) is None, "an admin has a key already"
    another = keys.another(account, TABLES)
    assert another.key != first.key and another.role == "admin" and another.name.startswith("admin of ")
    stored = str(account.client("dynamodb").scan(TableName="muster-keys-credentials")["Items"])
    assert "first admin" in stored and str(first.key) not in stored and str(another.key) not in stored


def test_a_stage_without_its_table_is_refused_before_anything_is_written(account: Account) -> None:
    with pytest.raises(Stop, match="no table of credentials: make deploy makes it"):
        keys.first(account, ["muster-keys-workers"])


def test_a_failure_ends_the_command_with_the_exit_code_of_the_process(
    account: Account, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        keys.another(account, ["muster-nowhere-credentials"])
    assert ended.value.code == 1 and "Traceback" not in capfd.readouterr().err
