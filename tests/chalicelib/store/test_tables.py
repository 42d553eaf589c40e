"""The tables: one client, names that fit into a unit, and items that do not mistake each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chalicelib.store import tables
from chalicelib.store.tables import MODELS, Item, Operation, Queued, Slot, WorkerHeartbeat, WorkerRecord
from infra.local.dynamodb import Engine
from infra.local.store import Store
from muster.api.version import VERSION
from tests.fixtures.database import DATABASE, Recorder


def test_every_item_lives_in_a_table_that_is_created() -> None:
    created = [model.Meta.table_name for model in MODELS]
    assert len(created) == len(set(created)) == 7
    assert {model.Meta.table_name for model in Item.__subclasses__()} == set(created)
    assert all(name.startswith("muster-") for name in created)


def test_items_of_one_table_have_the_same_key() -> None:
    keys = set()
    for model in Item.__subclasses__():
        attributes = model.get_attributes().values()
        (hash_key,) = (each.attr_name for each in attributes if each.is_hash_key)
        range_keys = tuple(each.attr_name for each in attributes if each.is_range_key)
        keys.add((model.Meta.table_name, hash_key, range_keys))
    assert len(keys) == len(MODELS)


def test_what_every_heartbeat_writes_has_short_names_and_no_index() -> None:
    names = [each.attr_name for each in WorkerHeartbeat.get_attributes().values() if not each.is_hash_key]
    assert max(len(name) for name in names) <= 2 and len(set(names)) == len(names)
    assert not WorkerHeartbeat._indexes


def test_a_slot_names_its_deployment_and_its_command() -> None:
    slot = Slot("w", "D#5c1d", intent="deploy", generation=1_800_000_000_000)
    assert (slot.deployment_id, slot.command_id) == ("5c1d", "5c1d-g1800000000000")
    assert Queued("w", "O#5c1d", ttl=1).operation_id == "5c1d"


def test_creating_what_exists_changes_nothing(database: Recorder) -> None:
    Slot("w", "D#d", intent="stop", generation=1).save()
    tables.create_tables()
    assert [slot.deployment_id for slot in Slot.scan()] == ["d"]


def test_what_has_a_time_to_live_is_gone_after_it(tmp_path: Path) -> None:
    """Of the tables that `make serve` creates, each time it starts."""
    for _ in range(2):
        engine = Engine(Store(tmp_path / "items.sqlite3"))
        with DATABASE.attached(engine):
            Slot("w", "D#d", intent="stop", generation=1).save()
            for operation_id, ttl in (("ended", 999), ("lasts", 1001)):
                Queued("w", f"O#{operation_id}", ttl=ttl).save()
            engine.sweep(1000.0)
            assert sorted(slot.slot for slot in Slot.scan()) == ["D#d", "O#lasts"]
        engine.close()


def test_all_models_share_one_client(database: Recorder) -> None:
    clients = {
        id(model._get_connection().connection.client) for model in (WorkerRecord, WorkerHeartbeat, Operation, Slot)
    }
    assert clients == {id(tables.connection().client)}


def test_a_request_may_take_less_than_the_gateway_waits() -> None:
    patience = tables.Meta.connect_timeout_seconds + tables.Meta.read_timeout_seconds
    assert patience * (1 + tables.Meta.max_retry_attempts) < 29


def test_each_request_has_one_short_user_agent(engine: Recorder) -> None:
    sent: list[bytes] = []
    client: Any = tables.connection().client
    client.meta.events.register("before-send.dynamodb", lambda request, **_: sent.append(request.headers["User-Agent"]))
    Slot("w", "D#d", intent="stop", generation=1).save()
    assert sent == [f"muster/{VERSION}".encode()]
