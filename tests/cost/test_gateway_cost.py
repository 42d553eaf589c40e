"""What gateways cost is counted from what the code does for them."""

from __future__ import annotations

import msgspec
import pytest
from click.testing import CliRunner

from chalicelib.gateways.records import RENEW_SECONDS
from chalicelib.store import settings
from tests.cost import gateways, month
from tests.cost.__main__ import main
from tests.cost.bill import MONTH, GatewaysMonth, Month, price_of
from tests.cost.gateways import OfGateways
from tests.cost.month import Counted
from tests.cost.use import Use
from tests.fixtures import dynoxide

SIZE = 20


@pytest.fixture(scope="module")
def counted() -> OfGateways:
    with dynoxide.needed():
        return gateways.count(SIZE, 2)


def of(counted: OfGateways, workers: int = 1000, gateways: int = 2, deployments: int = 10) -> GatewaysMonth:
    fleet = Counted(Use(), Use(), Use(), 0, Use(), 0, 0)
    return GatewaysMonth(counted, Month(fleet, workers, deployments), gateways)


def test_a_poll_writes_nothing_and_reads_the_fleet_now_and_then(counted: OfGateways) -> None:
    poll = counted.poll
    assert (poll.writes, poll.requests, poll.invocations) == (0, 1, 1)
    key, listed, timeline = 1.0, 0.5, 2.0
    assert poll.reads == pytest.approx(key + listed + timeline, abs=1.0), "and its part of what is read of the fleet"
    assert poll.sent < 500 < counted.news.sent, "304, and its headers"
    assert counted.news.reads == counted.news.writes == 0, "the routes are of the same reading"


def test_a_registration_is_one_write_and_a_report_one_for_each_sum(counted: OfGateways) -> None:
    assert counted.registration.writes == 1 and counted.usage.writes == gateways.SUMS
    assert counted.renewal.writes == counted.tickets.writes == 0
    assert counted.tickets.requests == 0 < counted.renewal.requests, "tickets come with heartbeats"
    assert counted.changes == 5, "pending, downloading, starting, running, and that it is to stop"


def test_a_gateway_is_told_of_each_change_and_no_more_often_than_it_asks(counted: OfGateways) -> None:
    some = of(counted)
    assert some.polls == 2 * MONTH / settings.GATEWAY_POLL and some.registrations == 2 * MONTH / RENEW_SECONDS
    assert some.news == 2 * 1000 * 10 * counted.changes
    assert of(counted, deployments=0).news == 0
    busy = of(counted, workers=100_000)
    assert busy.news == busy.polls
    assert busy.of_polls.sent == pytest.approx(busy.polls * (counted.poll.sent + counted.news.sent))


def test_agents_ask_for_tickets_only_where_heartbeats_are_rare(
    counted: OfGateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert of(counted).tickets == 1000 * MONTH / 300 and of(counted).renewals == 0
    monkeypatch.setattr(settings, "HEARTBEAT", 60)
    assert of(counted).renewals == of(counted).tickets == 1000 * MONTH / 600


def test_a_bill_has_lines_of_gateways_where_there_are_some(counted: OfGateways) -> None:
    bill = of(counted).bill("http")
    assert [line.service for line in bill] == ["Gateways"] * 5
    assert bill[1].dollars == pytest.approx(price_of(counted.registration, "http") * bill[1].quantity)
    arguments = ["--workers", "3", "--output", "json", "--deployments", "0"]
    without, with_two = (
        msgspec.json.decode(CliRunner().invoke(main, [*arguments, *more]).output) for more in ([], ["--gateways", "2"])
    )
    assert "gateways" not in without and {line["service"] for line in without["lines"]} == {
        line["service"] for line in with_two["lines"]
    } - {"Gateways"}
    shown = CliRunner().invoke(main, ["--workers", "3", "--gateways", "1"]).output
    assert "registrations, every 30 s" in shown and f"{gateways.CALLERS} keys of callers" in shown
    assert month.RUNNING == 4 and "4 models on each worker" in shown
