"""docs/scale.md's figures, computed again from what the code does here and now."""

from __future__ import annotations

import re
from typing import Any

import pytest

from chalicelib.scheduling.view_audit import SMALL_FLEET
from chalicelib.store import settings
from chalicelib.store.tables import WorkerHeartbeat, WorkerRecord
from muster.api.tickets import LIFETIME_SECONDS
from muster_agent.tunnel.tunnel_supervisor import RENEW_AT
from tests.cost import gateways, month
from tests.cost.bill import MONTH, GatewaysMonth, Month, bill
from tests.cost.gateways import OfGateways
from tests.cost.meter import METER
from tests.cost.use import Use
from tests.fixtures import dynoxide
from tests.fixtures.database import Recorder
from tests.fixtures.large_fleet import raw, worker_with_history
from tests.fixtures.markdown import blocks, read
from tests.fixtures.plane_world import PlaneWorld
from tests.fixtures.units import READ_UNIT, size_of

PAGE = read("docs/scale.md")
SIZES = (1_000, 10_000, 100_000)
FEW = 20
Figures = dict[str, float]


def row(name: str) -> list[float]:
    (cells,) = re.findall(rf"^\| {re.escape(name)} \| (.*) \|$", PAGE, re.M)
    return [float(cell.strip("* ").replace(",", "")) for cell in cells.split("|")]


def lines_of_the_bill(comment: str = "bill") -> Figures:
    """The quantities as they are printed."""
    (block,) = (each for each in blocks("docs/scale.md") if each.comment == comment)
    cells = [line.split("│") for line in block.text.splitlines() if line.startswith("│")]
    return {each[2].strip(): float(each[3].replace(",", "")) for each in cells if each[3].strip()}


@pytest.fixture(scope="module")
def counted() -> month.Counted:
    with dynoxide.needed():
        return month.count(FEW)


@pytest.fixture(scope="module")
def through() -> OfGateways:
    with dynoxide.needed():
        return gateways.count(3, 2)


@pytest.fixture(scope="module")
def bytes_of(counted: month.Counted) -> Figures:
    with month.fleet(FEW) as (_, first):
        parts = {part: size_of(raw(WorkerRecord, first.id, part)) for part in ("cold", "seen")}
        return {"hot": size_of(raw(WorkerHeartbeat, first.id)), **parts}


@pytest.fixture(scope="module")
def placed() -> Figures:
    """Read units of a deployment, as in make measure-fleet: with more workers than a small fleet has."""
    units: Figures = {}
    with dynoxide.needed(), month.fleet(SMALL_FLEET + 1) as (world, first):
        world.sweep()
        wanted: dict[str, dict[str, Any]] = {
            "one": {"gpus": 1, "worker_id": first.id},
            "any": {"gpus": 1},
            "no room": {"gpus": 9},
        }
        for what, body in wanted.items():
            with METER.metered():
                world.deploy(**body)
            units[what] = METER.use.reads
    return units


@pytest.fixture
def swept(database: Recorder) -> int:
    """Bytes of what a sweep reads of each worker in make measure-expiry."""
    return size_of(raw(WorkerHeartbeat, worker_with_history(PlaneWorld(database)).id))


def test_heartbeats_are_workers_by_seconds() -> None:
    assert row("heartbeats a second") == [round(size / 30) for size in SIZES]


def test_a_sweep_reads_what_hot_items_weigh(swept: int) -> None:
    brake, view, waiting = 1.0, 1.0, 0.5
    expected = [swept * size / READ_UNIT / 2 + brake + view + waiting for size in SIZES]
    assert row("a sweep: read units") == [pytest.approx(each, rel=0.1) for each in expected]


def test_a_place_reads_the_index_and_one_worker(placed: Figures) -> None:
    assert row("a deployment for one worker: read units") == [placed["one"]] * len(SIZES)
    assert row("a deployment for any worker: read units") == [placed["any"]] * len(SIZES)
    assert row("the same without room: read units") == [placed["no room"]] * len(SIZES)


def test_a_sweep_that_reads_the_whole_fleet_reads_all_that_workers_are(bytes_of: Figures) -> None:
    expected = [(sum(bytes_of.values()) + bytes_of["hot"]) * size / READ_UNIT / 2 for size in SIZES]
    name = "a sweep while one waits, once in 10 minutes: read units"
    assert row(name) == [pytest.approx(each, rel=0.15) for each in expected]


def test_the_printed_bill_is_of_what_the_code_does(counted: month.Counted) -> None:
    assert settings.HEARTBEAT == 30, "as it is unless it is set"
    printed = lines_of_the_bill()
    computed = {line.what: line.quantity for line in bill(Month(counted, 1000), "http")}
    assert printed.keys() == computed.keys()
    for what in ("HTTP API, requests", "invocations", "writes, on demand", "the schedule of the sweep"):
        assert printed[what] == pytest.approx(computed[what], rel=0.001), what
    for what in ("logs written", "answers, to the internet", "storage"):
        assert printed[what] == pytest.approx(computed[what], rel=0.1), what


def test_the_printed_bill_of_gateways_is_of_how_often_they_ask(through: OfGateways) -> None:
    fleet = month.Counted(Use(), Use(), Use(), 0, Use(), 0, 0)
    had = GatewaysMonth(through, Month(fleet, 1000), 2)
    assert lines_of_the_bill("bill of gateways") == {line.what: line.quantity for line in had.bill("http")}
    assert through.changes == 5 and through.poll.sent == 59, "as the text has it"
    assert 10 * settings.HEARTBEAT * 1.5 == RENEW_AT * LIFETIME_SECONDS, "agents ask where heartbeats are above 45"


def test_a_poll_reads_little_of_a_fleet_that_is_idle(through: OfGateways) -> None:
    few, *_ = row("units")
    assert through.poll.reads == pytest.approx(few, rel=0.1)
    assert through.poll.writes == 0


def test_the_estimate_that_it_is_held_against() -> None:
    requests = 1000 * MONTH / 30
    assert f"of which {requests * 3.5e-6:.0f} are for {requests / 1e6:.1f} million" in PAGE.replace("\n", " ")
