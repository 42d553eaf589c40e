"""The bill is made of what the code does: another call in the app is another sum on the bill."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest
from click.testing import CliRunner

from chalicelib.routes.http import CLOCK, Clock
from chalicelib.store.items import transact
from chalicelib.store.tables import WorkerHeartbeat
from chalicelib.workers import liveness
from infra.cloud import prices
from muster.api import usage as usage_figures
from tests.cost import month
from tests.cost.__main__ import main
from tests.cost.bill import MINUTE, MONTH, Line, Month, bill, price_of, total
from tests.cost.function import OF_GATEWAY, Tab
from tests.cost.meter import METER
from tests.cost.month import Agent, Counted
from tests.cost.use import Use
from tests.fixtures import dynoxide
from tests.fixtures.large_fleet import GPUS, segments
from tests.fixtures.plane_world import PlaneWorld

SIZE = 60


@pytest.fixture(scope="module")
def counted() -> Counted:
    with dynoxide.needed():
        return month.count(SIZE)


@pytest.fixture
def fleet() -> Iterator[tuple[PlaneWorld, Agent]]:
    with dynoxide.needed(), month.fleet(SIZE) as (world, first):
        yield world, Agent(first, list(first.active))


def dollars(lines: list[Line], what: str) -> float:
    (found,) = [line.dollars for line in lines if what in line.what]
    return found


def test_an_idle_heartbeat_is_one_write_and_a_tenth_of_a_look(counted: Counted) -> None:
    beat = counted.beat
    assert (beat.writes, beat.requests, beat.invocations) == (1, 1, 1)
    assert beat.calls - beat.writes == pytest.approx(0.2), "one in ten reads its slots, and what runs in them"
    assert beat.reads == pytest.approx((1 + month.RUNNING) / 10)
    assert beat.cpu > 0 and 50 < beat.sent < 1000


def test_a_second_write_in_a_heartbeat_would_be_on_the_bill(fleet: tuple[PlaneWorld, Agent], counted: Counted) -> None:
    _, agent = fleet
    agent.beat()
    with METER.metered():
        WorkerHeartbeat(agent.worker.id).update(actions=[WorkerHeartbeat.beats.add(0)])
    twice = replace(counted, beat=counted.beat + METER.use)
    before, after = (bill(Month(each, 1000, deployments=0), "http") for each in (counted, twice))
    more = prices.WRITE_UNIT * Month(counted, 1000).beats
    assert dollars(after, "writes") - dollars(before, "writes") == pytest.approx(more) and more > 50
    assert total(after) > total(before) + more, "and the function waits for it"


def test_a_line_that_a_request_logs_would_be_on_the_bill(fleet: tuple[PlaneWorld, Agent]) -> None:
    from tests.cost import function

    _, agent = fleet
    quiet = agent.beat().logged
    with function._said() as said:
        os.write(1, b"x" * 1000 + b"\n")
    assert len(said) == 1 and function._logged(said).logged == quiet + 1001 + function.LINE


def test_a_sweep_is_what_the_fleet_weighs(fleet: tuple[PlaneWorld, Agent]) -> None:
    world, _ = fleet
    liveness.expire(world.now)
    world.pass_(1)
    with METER.metered():
        liveness.expire(world.now)
    swept = METER.use
    read = segments()
    brake, view, waiting = 1.0, 1.0, 0.5
    assert swept.reads == pytest.approx(sum(part.charged for part in read) + brake + view + waiting)
    assert swept.calls == sum(part.pages for part in read) + 3
    assert sum(part.items for part in read) == SIZE and swept.writes == 0
    assert {len(usage_figures.unpack(bytes(each.usage))[1]) for each in WorkerHeartbeat.scan()} == {GPUS}, (
        "each says what its GPUs do"
    )


def test_the_engines_account_is_amazons(fleet: tuple[PlaneWorld, Agent]) -> None:
    """A unit for each KiB that was begun, twice that in a transaction; of reads one for each four KiB, as it is now."""
    large = WorkerHeartbeat("large", session=1, last_seen=1, status="x" * 2000, interval=1, inbox=1)
    with METER.metered():
        large.save()
    assert (METER.use.writes, METER.use.reads) == (2, 0)
    with METER.metered():
        transact(lambda transaction: transaction.update(large, actions=[WorkerHeartbeat.session.set(2)]))
    assert METER.use.writes == 4
    with METER.metered():
        WorkerHeartbeat.get("large", consistent_read=True)
    assert (METER.use.writes, METER.use.reads) == (0, 1)


def test_a_deployments_life_reads_the_fleet_and_brings_quick_heartbeats(counted: Counted) -> None:
    assert counted.life.requests == 15 and counted.life.writes > 40
    assert 100 < counted.quick < 400
    assert 1000 < counted.life_bytes < 20_000 and 2000 < counted.worker_bytes < 6000


def test_the_bill_is_what_was_counted_times_how_often_times_the_price(counted: Counted) -> None:
    had = Month(counted, 1000, deployments=0)
    http, rest = bill(had, "http"), bill(had, "rest")
    assert dollars(rest, "requests") == pytest.approx(1000 * MONTH / 30 * 3.5e-6), "302 dollars"
    assert dollars(http, "requests") == pytest.approx(1000 * MONTH / 30 * 1e-6)
    assert had.of_sweeps.invocations == MONTH / MINUTE
    assert total(http) == pytest.approx(sum(line.dollars for line in http)) and len({*http}) == len(http)
    twice = replace(had, workers=2000)
    assert dollars(bill(twice, "http"), "writes") == pytest.approx(2 * dollars(http, "writes"))


def test_use_is_added_and_multiplied() -> None:
    assert Use(writes=1, cpu=2) + Use(writes=2) * 3 == Use(writes=7, cpu=2)


def test_what_is_printed_is_the_bill_and_what_was_counted(counted: Counted) -> None:
    del counted  # skipped where there is no engine
    shown = CliRunner().invoke(main, ["--workers", "3", "--api", "rest"])
    assert shown.exit_code == 0, shown.output
    assert "REST API, requests" in shown.output and prices.AS_OF in shown.output and "Assumed" in shown.output
    document = msgspec.json.decode(CliRunner().invoke(main, ["--workers", "3", "--output", "json"]).output)
    assert document["total"] == pytest.approx(sum(line["dollars"] for line in document["lines"]))
    assert document["counted"]["beat"]["writes"] == 1


def test_a_console_tab_that_nobody_touches_is_on_the_bill(counted: Counted) -> None:
    line = next(line for line in bill(Month(counted, 1000), "http") if line.service == "Console")
    assert line.quantity == MONTH / month.LOOK_SECONDS == 86_400
    assert line.dollars == pytest.approx(86_400 * price_of(counted.look, "http"))
    assert counted.look.writes == 0 and counted.look.requests == counted.look.invocations == 1
    twice = replace(counted, look=counted.look * 2)
    assert dollars(bill(Month(twice, 1000), "http"), "one tab") == pytest.approx(2 * line.dollars)


def test_an_hour_of_a_tab_is_what_its_first_answer_weighs_and_little_more(fleet: tuple[PlaneWorld, Agent]) -> None:
    """By the requests that the console makes (tests/console/test_pace.py counts them), over a fleet that is idle."""
    world, agent = fleet
    tab, sent = Tab(month.KEY), []
    before = CLOCK.set(Clock(lambda: world.now))
    try:
        for _ in range(int(3600 / month.LOOK_SECONDS)):
            agent.beat()
            for heartbeat in WorkerHeartbeat.scan():
                heartbeat.update(actions=[WorkerHeartbeat.last_seen.set(world.now)])
            sent.append(tab.look().sent + len(OF_GATEWAY["http"]))
            world.pass_(month.LOOK_SECONDS)
    finally:
        CLOCK.reset(before)
    assert tab.changed == 0 and len(sent) == 120
    first, *later = sent
    assert first < 400 * SIZE, "bytes for each worker, compressed"
    assert max(later) < 1000, "304, and its headers: whatever the size of the fleet"
