"""Reports and results on their way out: their order, their number, and what a full disk keeps in memory."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from muster.api.messages import Report, Result
from muster_agent.state.db import JournalFull
from muster_agent.state.outbox import MAX_ENTRIES, Outbox
from muster_agent.wiring import Journal
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.journals import forbid_writing, open_journal


def sent(outbox: Outbox) -> list[tuple[str, str]]:
    """What is in it, in the order in which it is sent."""
    told = []
    while (entry := outbox.first()) is not None:
        told.append((entry.about, entry.body["status"]))
        outbox.done(entry)
    return told


def test_spool_keeps_its_order_and_its_bounds(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.database.connection.execute("PRAGMA synchronous = OFF")  # nothing here is about a disk
    outbox = journal.outbox
    for number in range(MAX_ENTRIES + 5):
        outbox.put(f"d{number}", Report("running"))
    assert [each.about for each in outbox.heads()] == [f"d{number}" for number in range(5, MAX_ENTRIES + 5)]


def test_report_that_cannot_be_journaled_is_sent_all_the_same(full: Journal) -> None:
    full.outbox.put("d1", Report("error", error_code="DISK_FULL"))
    entry = full.outbox.first()
    assert entry is not None
    assert entry.body["error_code"] == "DISK_FULL"
    full.outbox.done(entry)
    assert full.outbox.first() is None


def test_what_was_sent_and_cannot_be_forgotten_holds_up_nothing(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.outbox.put("d1", Report("running"))
    forbid_writing(journal.database)
    entry = journal.outbox.first()
    assert entry is not None
    with pytest.raises(JournalFull):
        journal.outbox.done(entry)
    journal.outbox.put("d2", Report("error", error_code="DISK_FULL"))
    held = journal.outbox.first()
    assert held is not None and held.about == "d2"


def test_sequence_grows_from_report_to_report_and_over_restarts(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.kill()
    world.boot().beat()
    world.settle()
    sequences = [report.sequence or 0 for _, report in world.server.reports]
    assert sequences == sorted(set(sequences))


def test_what_was_not_sent_is_there_after_a_restart_and_what_was_sent_is_not(tmp_path: Path) -> None:
    outbox = open_journal(tmp_path).outbox
    outbox.put("d1", Report("running"))
    outbox.put("o1", Result("succeeded", output={"deleted": []}))
    entry = outbox.first()
    assert entry is not None
    outbox.done(entry)
    entry = open_journal(tmp_path).outbox.first()
    assert entry is not None
    assert (entry.kind, entry.about, entry.body) == ("result", "o1", {"status": "succeeded", "output": {"deleted": []}})


def test_reports_are_numbered_and_results_are_not(tmp_path: Path) -> None:
    numbers = []
    for _ in range(2):
        outbox = open_journal(tmp_path).outbox
        for body in (Report("starting"), Result("running"), Report("running")):
            outbox.put("x", body)
        while (entry := outbox.first()) is not None:
            numbers.append(entry.body.get("sequence"))
            outbox.done(entry)
    assert numbers == [1, None, 2, 3, None, 4]


def test_what_is_held_in_memory_comes_after_what_is_journaled_and_in_its_order(tmp_path: Path) -> None:
    outbox = open_journal(tmp_path).outbox
    outbox.hold("held-1", Report("error"))
    outbox.hold("held-2", Result("failed"))
    outbox.put("journaled", Report("running"))
    about = []
    while (entry := outbox.first()) is not None:
        about.append(entry.about)
        outbox.done(entry)
    assert about == ["journaled", "held-1", "held-2"]


def held(folder: Path) -> Outbox:
    """Holds in memory a report of each of two generations of d1, and one of d2."""
    journal = open_journal(folder)
    forbid_writing(journal.database)
    for about, generation in (("d1", 1), ("d1", 2), ("d2", 1)):
        journal.outbox.put(about, Report("error", generation=generation, error_code="DISK_FULL"))
    return journal.outbox


@pytest.mark.parametrize(
    ("about", "generation", "left"),
    [("d1", 1, [("d1", 2), ("d2", 1)]), ("d1", 2, [("d1", 1), ("d2", 1)]), ("d2", 1, [("d1", 1)])],
)
def test_what_is_held_of_a_generation_can_be_taken_back_and_nothing_else_goes(
    tmp_path: Path, about: str, generation: int, left: list[tuple[str, int]]
) -> None:
    outbox = held(tmp_path)
    assert outbox.take_back(about, generation) is True
    entries = [outbox.load(head) for head in outbox.heads()]
    assert [(each.about, each.body["generation"]) for each in entries if each is not None] == left
    assert outbox.take_back(about, generation) is False, "nothing is held of it any more"
    assert outbox.holds("d1") and outbox.holds("d2") is (about == "d1")


def test_nothing_is_taken_back_where_nothing_is_held(tmp_path: Path) -> None:
    outbox = open_journal(tmp_path).outbox
    outbox.put("d1", Report("running", generation=1))
    assert (outbox.take_back("d1", 1), outbox.holds("d1")) == (False, False)
    assert sent(outbox) == [("d1", "running")]


def test_a_report_whose_delivery_was_tried_is_not_taken_back_and_others_are(tmp_path: Path) -> None:
    outbox = held(tmp_path)
    assert outbox.first() is not None
    assert outbox.take_back("d1", 1) is False
    assert [each.about for each in outbox.heads()] == ["d1", "d2"]
    assert outbox.take_back("d2", 1) is True
    assert outbox.take_back("d1", 2) is True
    assert sent(outbox) == [("d1", "error")]


def test_whoever_sends_is_told_of_everything_new(tmp_path: Path) -> None:
    outbox = open_journal(tmp_path).outbox
    assert not outbox.arrived.is_set()
    for add in (outbox.put, outbox.hold):
        outbox.arrived.clear()
        add("d1", Report("running"))
        assert outbox.arrived.is_set()


# Each deployment has an order of its own


def test_the_heads_are_the_oldest_of_each_deployment_and_operation(tmp_path: Path) -> None:
    outbox = open_journal(tmp_path).outbox
    for about, body in (("x", Report("starting")), ("x", Report("running")), ("x", Result("running"))):
        outbox.put(about, body)
    outbox.put("y", Report("stopped"))
    assert [(each.kind, each.about) for each in outbox.heads()] == [("status", "x"), ("result", "x"), ("status", "y")]
    last = outbox.load(outbox.heads()[-1])
    assert last is not None and last.body["status"] == "stopped"
    outbox.done(last)
    assert sent(outbox) == [("x", "starting"), ("x", "running"), ("x", "running")]


def test_a_head_that_was_replaced_meanwhile_loads_as_nothing(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.outbox.put("x", Report("running"))
    head = journal.outbox.heads()[0]
    entry = journal.outbox.load(head)
    assert entry is not None
    journal.outbox.done(entry)
    assert journal.outbox.load(head) is None


def test_what_takes_the_place_of_another_is_sent_instead_of_it(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)

    def insert(status: str, replaces: str | None) -> None:
        report = msgspec.convert({"status": status}, Report)
        journal.database.write(lambda connection: journal.outbox.insert(connection, "d1", report, replaces))

    insert("starting", None)
    insert("downloading", "d1's pull")
    insert("stopping", "d1's pull")
    insert("running", "another's")
    assert [status for _, status in sent(journal.outbox)] == ["starting", "stopping", "running"]


def test_everything_that_is_journaled_is_listed_the_oldest_first(tmp_path: Path) -> None:
    outbox = open_journal(tmp_path).outbox
    outbox.put("d1", Report("starting"))
    outbox.put("o1", Result("running"))
    outbox.put("d1", Report("running"))
    outbox.hold("d2", Report("running"))
    listed = [(each.kind, each.about, each.body["status"]) for each in outbox.all()]
    assert listed == [("status", "d1", "starting"), ("result", "o1", "running"), ("status", "d1", "running")]
    assert [each.id for each in outbox.all()] == sorted(each.id for each in outbox.all())


def test_what_could_not_be_forgotten_is_forgotten_with_the_next_that_is(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for about in ("d1", "d2"):
        journal.outbox.put(about, Report("running"))
    first = journal.outbox.first()
    forbid_writing(journal.database)
    assert first is not None
    with pytest.raises(JournalFull):
        journal.outbox.done(first)
    journal.database.connection.execute("PRAGMA query_only = OFF")
    assert sent(journal.outbox) == [("d2", "running")]
    assert open_journal(tmp_path).outbox.all() == []


# Bounds


def quick(folder: Path) -> Outbox:
    journal = open_journal(folder)
    journal.database.connection.execute("PRAGMA synchronous = OFF")  # nothing here is about a disk
    return journal.outbox


@pytest.mark.parametrize("how", ["put", "hold"])
def test_one_deployments_chatter_pushes_out_no_others_last_report(tmp_path: Path, how: str) -> None:
    outbox = quick(tmp_path)
    add = getattr(outbox, how)
    add("quiet", Report("starting"))
    add("quiet", Report("error", error_code="X"))
    for _ in range(MAX_ENTRIES + 5):
        add("chatty", Report("running"))
    told = sent(outbox) if how == "hold" else [(each.about, each.body["status"]) for each in outbox.all()]
    assert len(told) == MAX_ENTRIES
    assert [status for about, status in told if about == "quiet"] == ["starting", "error"]


def test_among_last_reports_results_go_before_statuses_and_rests_before_both(tmp_path: Path) -> None:
    outbox = quick(tmp_path)
    outbox.put("rest", Report("error", error_code="X", logs="log"))
    entry = outbox.first()
    assert entry is not None
    outbox.done(entry, rest=entry.body)
    outbox.put("d", Report("error", error_code="X"))
    outbox.put("o", Result("succeeded"))
    for number in range(MAX_ENTRIES - 2):
        outbox.put(f"d{number}", Report("running"))
    assert {"rest"} == {"rest", "d", "o"} - {each.about for each in outbox.heads()}
    outbox.put("one more", Report("running"))
    assert {"rest", "o"} == {"rest", "d", "o"} - {each.about for each in outbox.heads()}


# Rests


def delivered_smaller(outbox: Outbox, about: str = "d1") -> None:
    outbox.put(about, Report("error", error_code="X", logs="the log"))
    entry = outbox.first()
    assert entry is not None
    outbox.done(entry, rest=entry.body)


def test_a_rest_is_the_whole_report_with_a_sequence_of_its_own_and_comes_last(tmp_path: Path) -> None:
    outbox = open_journal(tmp_path).outbox
    delivered_smaller(outbox)
    outbox.put("d2", Report("running"))
    assert [(each.about, each.is_rest) for each in outbox.heads()] == [("d2", False), ("d1", True)]
    rest = outbox.load(outbox.heads()[-1])
    assert rest is not None
    assert rest.body == {"status": "error", "error_code": "X", "logs": "the log", "sequence": 2}
    again = open_journal(tmp_path).outbox
    again.put("d3", Report("running"))
    numbers = [entry.body["sequence"] for head in again.heads() if (entry := again.load(head))]
    assert sorted(numbers) == [2, 3, 4]


def test_a_rest_is_dropped_where_its_deployment_has_something_newer_to_report(tmp_path: Path) -> None:
    outbox = open_journal(tmp_path).outbox
    delivered_smaller(outbox)
    outbox.put("d1", Report("starting"))
    assert sent(outbox) == [("d1", "starting")]
    outbox.put("d1", Report("error", error_code="X", logs="the log"))
    entry = outbox.first()
    outbox.put("d1", Report("running"))
    assert entry is not None
    outbox.done(entry, rest=entry.body)
    assert sent(outbox) == [("d1", "running")]


def test_a_report_that_is_held_in_memory_comes_before_its_deployments_rest(tmp_path: Path) -> None:
    outbox = open_journal(tmp_path).outbox
    delivered_smaller(outbox)
    outbox.hold("d1", Report("stopped"))
    assert [each.is_rest for each in outbox.heads()] == [False]


def test_the_sequence_of_a_rest_is_not_given_again_after_a_restart(tmp_path: Path) -> None:
    delivered_smaller(open_journal(tmp_path).outbox)
    outbox = open_journal(tmp_path).outbox
    outbox.put("d2", Report("running"))
    assert sorted(each.body["sequence"] for each in outbox.all()) == [2, 3]


@pytest.mark.parametrize("how", ["put", "hold"])
def test_what_a_deployment_reports_while_a_smaller_version_is_sent_makes_its_rest_old_and_no_others(
    tmp_path: Path, how: str
) -> None:
    outbox = open_journal(tmp_path).outbox
    for about, rests in (("d1", []), ("d2", ["d1"])):
        outbox.put("d1", Report("error", error_code="X", logs="the log"))
        entry = outbox.first()
        assert entry is not None
        getattr(outbox, how)(about, Report("running"))
        outbox.done(entry, rest=entry.body)
        assert [each.about for each in outbox.heads() if each.is_rest] == rests
        sent(outbox)
