"""The journal on good disks and on full ones."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from agent.boots import next_boot
from agent.contact import LEASE, Contact
from agent.crew import Memory
from agent.journal import Database, JournalFull
from agent.records import Receipt
from agent.refusal import Refusal
from agent.reserve import ReserveFile
from agent.spool import MOST
from chalicelib.contract.messages import DeleteImage, Deploy, Report, Result, Stop
from tests.fixtures.agent_world import AgentWorld

BIG = "x" * 10_000
"""More than fits into what is left of any page."""
DEPLOY = Deploy("c1", "d1", 1, "vllm", "org/model", env={"HF_TOKEN": BIG})


def big_stop(deployment_id: str) -> Stop:
    return Stop(BIG, deployment_id, 1)


class Room:
    """A reserve that gives the database room for a few more pages: sqlite's own limit stands in for a full disk."""

    def __init__(self) -> None:
        self.database: Database | None = None
        self.held = True

    def give_up(self) -> bool:
        held, self.held = self.held, False
        if held and self.database is not None:
            _pages(self.database, 20)
        return held

    def restore(self) -> None:
        self.held = True


def _pages(database: Database, more: int) -> None:
    count = database.connection.execute("PRAGMA page_count").fetchone()[0]
    database.connection.execute(f"PRAGMA max_page_count = {count + more}")


def fill(database: Database) -> None:
    _pages(database, 0)
    with pytest.raises(JournalFull):
        for number in range(10_000):
            database.set_meta(**{f"filler-{number}": "x" * 500})


@pytest.fixture
def full(tmp_path: Path) -> Memory:
    room = Room()
    database = Database(tmp_path / "journal", room)
    room.database = database
    fill(database)
    return Memory.of(database)


def open_memory(folder: Path) -> Memory:
    return Memory.of(Database(folder / "journal", ReserveFile(folder / "reserve", 4096)))


def test_full_disk_takes_no_deploy(full: Memory) -> None:
    with pytest.raises(JournalFull):
        full.records.accept(DEPLOY)
    assert full.records.get("d1") is None


def test_an_agent_starts_on_a_full_disk_after_its_host_did(full: Memory) -> None:
    full.records.begin_run("another run of the host, " + BIG)
    assert (full.database.meta("host_run") or "").startswith("another run")


def test_full_disk_still_takes_a_stop(full: Memory) -> None:
    assert full.records.accept(big_stop("d1")) is Receipt.NEW


def test_full_disk_still_takes_what_frees_it(full: Memory) -> None:
    assert full.ledger.accept(DeleteImage("o1", 60, BIG), 0) is None
    full.ledger.begin("o1")
    full.ledger.finish("o1", Result("succeeded"))
    assert full.spool.first() is not None


def test_reserve_is_given_up_once(full: Memory) -> None:
    full.records.accept(big_stop("d1"))
    fill(full.database)
    with pytest.raises(JournalFull):
        full.records.accept(big_stop("d2"))


def test_report_that_cannot_be_journaled_is_sent_all_the_same(full: Memory) -> None:
    full.spool.put("d1", Report("error", error_code="DISK_FULL"))
    entry = full.spool.first()
    assert entry is not None
    assert entry.body["error_code"] == "DISK_FULL"
    full.spool.done(entry)
    assert full.spool.first() is None


def test_what_was_sent_and_cannot_be_forgotten_holds_up_nothing(tmp_path: Path) -> None:
    memory = open_memory(tmp_path)
    memory.spool.put("d1", Report("running"))
    memory.database.connection.execute("PRAGMA query_only = ON")  # not even a deletion can be written
    entry = memory.spool.first()
    assert entry is not None
    with pytest.raises(JournalFull):
        memory.spool.done(entry)
    memory.spool.put("d2", Report("error", error_code="DISK_FULL"))
    held = memory.spool.first()
    assert held is not None and held.about == "d2"


def test_full_disk_is_said_and_not_acked(world: AgentWorld) -> None:
    fill(world.database)
    world.deploy(env={"BIG": BIG})
    world.order(type="pull_image", command_id="o1", expires_in=60, image=BIG)
    assert world.server.beats[-1].acks == []
    world.deliver()
    assert world.last_report().error_code == "DISK_FULL"
    assert world.result("o1")["error_code"] == "DISK_FULL"
    assert world.engine.calls == []


def test_reserve_file(tmp_path: Path) -> None:
    reserve = ReserveFile(tmp_path / "reserve", 8192)
    reserve.restore()
    assert (tmp_path / "reserve").stat().st_size == 8192
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 8192
    assert reserve.give_up()
    assert not reserve.give_up()


def test_receipts(tmp_path: Path) -> None:
    records = open_memory(tmp_path).records
    assert records.accept(DEPLOY) is Receipt.NEW
    assert records.accept(DEPLOY) is Receipt.REPEATED
    assert records.accept(Stop("c2", "d1", 2)) is Receipt.NEW
    assert records.accept(DEPLOY) is Receipt.STALE


def test_journal_id_is_as_old_as_the_journal(tmp_path: Path) -> None:
    first = open_memory(tmp_path).database
    assert open_memory(tmp_path).database.journal_id == first.journal_id
    (tmp_path / "journal").unlink()
    assert open_memory(tmp_path).database.journal_id != first.journal_id


def test_a_process_knows_those_before_it(tmp_path: Path, full: Memory) -> None:
    boots = [next_boot(open_memory(tmp_path).database) for _ in range(12)]
    ids = [boot for boot, _ in boots]
    assert len(set(ids)) == 12
    assert [past for _, past in boots] == [ids[max(0, number - 8) : number][::-1] for number in range(12)]
    assert next_boot(full.database)[0], "it starts on a full disk all the same"


def test_a_refusal_is_remembered_for_a_while_and_for_the_same_settings_only(tmp_path: Path) -> None:
    database = open_memory(tmp_path).database
    Refusal(database, "https://muster", "gpu", "token").note(1000.0)
    again = Refusal(database, "https://muster", "gpu", "token")
    assert [again.pause(now) for now in (1000.0, 1200.0, 1300.0, 999.0)] == [300.0, 100.0, 0.0, 0.0]
    assert Refusal(database, "https://muster", "gpu", "another token").pause(1000.0) == 0.0


def test_files_are_for_our_user_alone(tmp_path: Path) -> None:
    memory = open_memory(tmp_path)
    memory.records.accept(DEPLOY)
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_stop_takes_the_secrets_out_of_the_journal(tmp_path: Path) -> None:
    memory = open_memory(tmp_path)
    memory.records.accept(DEPLOY)
    memory.records.accept(Stop("c2", "d1", 2))
    record = memory.records.get("d1")
    assert record is not None
    assert isinstance(record.command, Stop)


def test_spool_keeps_its_order_and_its_bounds(tmp_path: Path) -> None:
    spool = open_memory(tmp_path).spool
    for number in range(MOST + 5):
        spool.put(f"d{number}", Report("running"))
    about = []
    while (entry := spool.first()) is not None:
        about.append(entry.about)
        spool.done(entry)
    assert about == [f"d{number}" for number in range(5, MOST + 5)]


def test_contact_is_a_lease(tmp_path: Path) -> None:
    contact = Contact(open_memory(tmp_path).database)
    assert not contact.may_start(0)
    contact.note(1000)
    assert contact.may_start(1000 + LEASE - 1)
    assert not contact.may_start(1000 + LEASE)
    again = Contact(open_memory(tmp_path).database)
    assert again.last == 1000
    # A host whose clock starts at zero is not one without contact.
    assert again.may_start(0)


def test_full_disk_can_be_looked_at_and_freed_even_without_a_reserve(world: AgentWorld) -> None:
    world.ask("pull_image", command_id="o0", image="vllm/vllm-openai:latest")
    world.memory.ledger.accept(DeleteImage("gives up the reserve", 60, BIG), 0)
    fill(world.database)
    assert world.ask("list_images", command_id="o1")["output"]["images"]
    assert world.ask("prune", command_id="o2", images=True, dry_run=True)["output"]["space_reclaimed"] == 1000
    assert world.ask("prune", command_id="o3", images=True)["output"]["space_reclaimed"] == 1000
    world.order(type="prune", command_id="o3", expires_in=60, images=True)
    world.crew.operations.run_all()
    assert world.engine.calls.count("prune") == 1, "again is not twice"


def test_looking_does_not_cost_the_reserve(world: AgentWorld) -> None:
    fill(world.database)
    world.ask("list_models", command_id="o1")
    world.ask("prune", command_id="o2", images=True, dry_run=True)
    assert (world.state.path / "reserve").exists()
