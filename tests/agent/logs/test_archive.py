"""The logs of instances that are gone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_agent.engines.base import Instance, LogChunk
from muster_agent.engines.log_lines import Line, backwards, chunk, stored
from muster_agent.logs.archive import LOGS_PER_DEPLOYMENT, Archive
from muster_agent.state.db import Database
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.journals import forbid_writing, open_journal
from tests.fixtures.memory_engine import MemoryEngine


@given(st.lists(st.binary(max_size=80).map(lambda text: text.replace(b"\n", b""))))
def test_a_log_that_was_stored_is_read_again(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    log = chunk([Line(at, text) for at, text in enumerate(lines)][::-1], 1000, None)
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_bytes(stored(log))
    again = chunk(backwards(path), 1000, None)
    assert (again.text, again.times) == (log.text, log.times)


def test_logs_outlive_their_container(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    instance = world.engine.only()
    world.engine.say(instance.id, "last words")
    world.stop()
    world.settle()
    for number, key in enumerate([instance.id, instance.id[:5], instance.name, "d1"]):
        output = world.ask("container_logs", command_id=f"o{number}", container_id=key)["output"]
        assert output["logs"] == "last words\n"
    again = world.ask("container_logs", command_id="o9", container_id="d1", since=output["next_since"])["output"]
    assert again["logs"] == ""
    assert world.ask("container_logs", command_id="o8", container_id="d1", since="x")["error_code"] == "INVALID_REQUEST"


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_journal(tmp_path).database


@pytest.fixture
def archive(tmp_path: Path, database: Database) -> Archive:
    return Archive(database, tmp_path / "logs")


def instance(number: int, deployment_id: str = "d1") -> Instance:
    return Instance(f"{number:04d}abc", f"muster-{deployment_id}-g{number}", "i", "exited", "w1", deployment_id, number)


def saved(archive: Archive, key: str) -> str | None:
    found = archive.find(key)
    return chunk(backwards(found.path), 100, None).text if found is not None else None


def log_of(text: str) -> LogChunk:
    return chunk([Line(1, text.encode())], 100, None)


def test_the_newest_log_is_found_by_id_name_deployment_and_unique_prefix(archive: Archive) -> None:
    archive.save(instance(1), log_of("one"), 100.0)
    archive.save(instance(2), log_of("two"), 200.0)
    assert saved(archive, "d1") == "two\n"
    assert saved(archive, "0001abc") == saved(archive, "muster-d1-g1") == saved(archive, "0001") == "one\n"
    assert saved(archive, "000") is None, "it begins several ids"
    assert saved(archive, "d2") is None
    found = archive.find("d1")
    assert found is not None and found.saved_at == 200.0


def test_the_last_logs_of_each_deployment_are_kept_and_no_more(archive: Archive, tmp_path: Path) -> None:
    archive.save(instance(1, "d2"), log_of("of another"), 0.0)
    for number in range(1, LOGS_PER_DEPLOYMENT + 3):
        archive.save(instance(number), log_of(str(number)), float(number))
    assert len(list((tmp_path / "logs").iterdir())) == LOGS_PER_DEPLOYMENT + 1
    assert saved(archive, "muster-d1-g2") is None
    assert saved(archive, "muster-d1-g3") == "3\n"
    assert saved(archive, "d2") == "of another\n"


def test_logs_are_for_our_user_alone_and_no_id_becomes_a_path(archive: Archive, tmp_path: Path) -> None:
    archive.save(Instance("../../evil", "../evil", "i", "exited", "w1", "../../d1", 1), log_of("x"), 0.0)
    (file,) = (tmp_path / "logs").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert saved(archive, "../../evil") == "x\n"


def test_a_log_that_somebody_deleted_is_not_found(archive: Archive, tmp_path: Path) -> None:
    archive.save(instance(1), log_of("one"), 0.0)
    archive.save(instance(2), log_of("two"), 0.0)
    found = archive.find("d1")
    assert found is not None
    found.path.unlink()
    assert saved(archive, "d1") == "one\n"


def test_an_instance_is_removed_even_where_its_log_cannot_be_kept(archive: Archive, database: Database) -> None:
    engine = MemoryEngine()
    dead = engine.add(instance(1))
    forbid_writing(database)
    archive.save_and_remove(engine, dead, 0.0)
    assert engine.all == {}
    assert archive.find("d1") is None
