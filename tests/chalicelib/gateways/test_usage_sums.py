"""Usage counts once, whatever is repeated, late, or lost."""

from __future__ import annotations

import datetime
from random import Random

import pytest

from chalicelib.auth import tokens
from chalicelib.gateways import usage_sums
from chalicelib.store.tables import UsageTotal
from muster.api import gateways as g
from muster.api import resources as r
from muster.api.errors import ApiError
from tests.fixtures.plane_world import ADMIN, PlaneWorld


def day(world: PlaneWorld, back: int = 0) -> str:
    today = datetime.datetime.fromtimestamp(world.now, datetime.timezone.utc).date()
    return str(today - datetime.timedelta(back))


def report(
    world: PlaneWorld, requests: int, ledger: str = "l1", key: str = "k", model: str = "m", back: int = 0
) -> int:
    total = g.UsageSum(key, model, day(world, back), requests, 10 * requests, 100 * requests)
    return usage_sums.store(g.UsageReport(ledger, [total]), world.now)


def rows(world: PlaneWorld, by: str = "key", **days: str) -> list[tuple[str | None, int, int, int]]:
    found = usage_sums.usage(g.UsageQuery(by, **days), world.now).rows  # type: ignore[arg-type]
    return [(row.key or row.model or row.day, row.requests, row.prompt_tokens, row.completion_tokens) for row in found]


def test_reports_in_any_order_and_any_number_of_times_are_the_same(world: PlaneWorld) -> None:
    random = Random(7)
    sent = [(ledger, requests) for ledger in ("l1", "l2") for requests in range(1, 20)] * 3
    random.shuffle(sent)
    for ledger, requests in sent:
        report(world, requests, ledger)
    assert rows(world) == [("k", 38, 380, 3800)]


def test_a_smaller_sum_is_not_stored(world: PlaneWorld) -> None:
    assert (report(world, 5), report(world, 4), report(world, 5), report(world, 6)) == (1, 0, 1, 1)


def test_rows_are_by_key_model_or_day_and_a_key_has_its_name(world: PlaneWorld) -> None:
    made = tokens.create_key(r.NewApiKey("app", "caller"), ADMIN, world.now)
    report(world, 1, key=made.key_id, model="a")
    report(world, 2, key=made.key_id, model="b", back=1)
    report(world, 4, key="revoked", model="a")
    assert rows(world) == [("revoked", 4, 40, 400), ("app", 3, 30, 300)]
    assert rows(world, "model") == [("a", 5, 50, 500), ("b", 2, 20, 200)]
    assert rows(world, "day") == [(day(world, 1), 2, 20, 200), (day(world), 5, 50, 500)]
    assert rows(world, since=day(world), until=day(world)) == [("revoked", 4, 40, 400), ("app", 1, 10, 100)]
    both = usage_sums.usage(g.UsageQuery("key,model"), world.now).rows
    assert {(row.key, row.model) for row in both} == {("revoked", "a"), ("app", "a"), ("app", "b")}


def test_nothing_is_an_empty_list(world: PlaneWorld) -> None:
    assert rows(world) == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (g.UsageQuery(since="2026-02-30"), "no day"),
        (g.UsageQuery(since="2026-12-02", until="2026-12-01"), "later"),
        (g.UsageQuery(since="2020-01-01", until="2026-12-01"), "at most"),
    ],
)
def test_days_that_are_none_are_refused(world: PlaneWorld, query: g.UsageQuery, message: str) -> None:
    with pytest.raises(ApiError, match=message):
        usage_sums.usage(query, world.now)


def test_a_day_of_the_distant_past_or_future_is_refused(world: PlaneWorld) -> None:
    for back in (30, -3):
        with pytest.raises(ApiError, match="day"):
            report(world, 1, back=back)
    assert report(world, 1, back=-1) == 1, "a gateway's clock may be ahead around midnight"


def test_sums_expire_and_reading_is_one_query_a_day(world: PlaneWorld) -> None:
    report(world, 1)
    (item,) = UsageTotal.query(f"usage#{day(world)}")
    assert item.ttl > world.now + 390 * 86400
    before = len(world.database.calls)
    usage_sums.usage(g.UsageQuery(since=day(world, 6)), world.now)
    names = [name for name, _ in world.database.calls[before:]]
    assert names.count("Query") <= 7 + 1 and "Scan" not in names
