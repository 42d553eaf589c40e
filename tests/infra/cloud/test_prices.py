"""The prices of AWS: each is for a quantity, and names the page that it is from."""

from __future__ import annotations

import datetime

import pytest

from infra.cloud import prices
from infra.cloud.prices import Price

ALL = {name: each for name, each in vars(prices).items() if isinstance(each, Price)} | prices.REQUEST


def test_a_price_is_for_so_many_of_a_unit() -> None:
    assert Price(0.625, 1e6, "/page/") * 2e6 == pytest.approx(1.25)
    assert pytest.approx(prices.WRITE_UNIT.dollars) == prices.WRITE_UNIT * 1e6


def test_every_price_costs_something_and_has_a_page() -> None:
    assert len(ALL) >= 12
    for name, each in ALL.items():
        assert each.dollars > 0 and each.per >= 1, name
        assert each.page.startswith("/") and each.page.endswith("/"), name


def test_a_request_to_a_rest_api_costs_three_and_a_half_times_as_much() -> None:
    assert prices.REQUEST["rest"] * 1 == pytest.approx(3.5 * (prices.REQUEST["http"] * 1))


def test_the_table_has_the_day_on_which_it_was_written() -> None:
    assert datetime.date.fromisoformat(prices.AS_OF) > datetime.date(2026, 1, 1)
