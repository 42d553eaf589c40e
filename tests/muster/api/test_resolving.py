"""Names are resolved within a limit, and every result counts."""

from __future__ import annotations

from muster.api.resolving import in_order, is_ip, resolve


def test_an_ip_address_is_not_resolved() -> None:
    assert resolve("10.0.0.7") == resolve("fd00::7") == []
    assert is_ip("10.0.0.7") and not is_ip("gpu-1")


def test_a_name_has_all_its_addresses() -> None:
    assert set(resolve("localhost")) & {"127.0.0.1", "::1"}


def test_a_name_that_nobody_knows_has_none() -> None:
    assert resolve("a" * 300) == resolve("-") == []


def test_results_are_in_an_order_that_does_not_change_and_links_of_this_machine_are_left_out() -> None:
    assert in_order(["fd00::7", "10.0.0.9", "fe80::1%eth0", "10.0.0.7", "10.0.0.9"]) == [
        "10.0.0.7",
        "10.0.0.9",
        "fd00::7",
    ]
