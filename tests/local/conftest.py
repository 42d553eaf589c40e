"""The embedded database behind a botocore client of its own, so that nothing else in the process notices it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from infra.local_dynamodb import Engine
from infra.local_store import Store

TABLE = {
    "TableName": "things",
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "part", "KeyType": "RANGE"}],
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("id", "part", "kind")],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "kinds",
            "KeySchema": [{"AttributeName": "kind", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
    ],
    "BillingMode": "PAY_PER_REQUEST",
}

Connect = Callable[[Store], Any]


def client_of(engine: Engine) -> Any:
    """A botocore client that only this engine answers; it does not retry."""
    session = botocore.session.Session()
    session.set_credentials("local", "local")
    session.register("before-send.dynamodb", engine)  # type: ignore[arg-type]  # the stubs know no handler that answers
    session.set_config_variable("max_attempts", 1)
    client: Any = session.create_client("dynamodb", "us-east-1")
    client.create_table(**TABLE)
    client.update_time_to_live(TableName="things", TimeToLiveSpecification={"Enabled": True, "AttributeName": "ends"})
    return client


def thing(id_: str, part: str = "x", **attributes: Any) -> dict[str, Any]:
    return {"id": {"S": id_}, "part": {"S": part}, **attributes}


def everything(client: Any) -> dict[tuple[str, str], Any]:
    items = client.scan(TableName="things", ConsistentRead=True)["Items"]
    return {(item["id"]["S"], item["part"]["S"]): item for item in items}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "items.sqlite3"


@pytest.fixture
def client(path: Path) -> Any:
    return client_of(Engine(Store(path)))
