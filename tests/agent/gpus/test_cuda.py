"""Whether a driver does what an image wants of it."""

from __future__ import annotations

import pytest

from muster_agent.gpus.cuda import Driver, unsatisfied

OLD, NEW = Driver("550.54.15", "12.4"), Driver("580.82.07", "13.0")
REAL = "cuda>=12.9 brand=unknown,driver>=535,driver<536 brand=tesla,driver>=535,driver<536"


@pytest.mark.parametrize(
    ("wants", "driver", "unmet"),
    [
        ("cuda>=12.9", OLD, "cuda>=12.9"),
        ("cuda>=12.9", NEW, None),
        ("cuda>=12.4", OLD, None),
        (REAL, OLD, "cuda>=12.9"),
        (REAL, NEW, None),
        (REAL, Driver("535.183.01", "12.2"), None),
        ("driver>=550", OLD, None),
        ("driver>550", OLD, "driver>550"),
        ("driver<=549", OLD, "driver<=549"),
        ("cuda=12.4", OLD, None),
        ("cuda!=12.4", OLD, "cuda!=12.4"),
        ("arch>=9.0", OLD, None),
        ("cuda>=new", OLD, None),
        ("nonsense", OLD, None),
        ("", OLD, None),
    ],
)
def test_a_requirement_is_met_by_any_alternative_whose_terms_all_hold(wants: str, driver: Driver, unmet: str) -> None:
    assert unsatisfied({"NVIDIA_REQUIRE_CUDA": wants}, driver) == unmet


def test_without_a_requirement_or_with_requirements_switched_off_nothing_is_wanted() -> None:
    assert unsatisfied({}, OLD) is None
    assert unsatisfied({"NVIDIA_REQUIRE_CUDA": "cuda>=99", "NVIDIA_DISABLE_REQUIRE": "true"}, OLD) is None
    assert unsatisfied({"NVIDIA_REQUIRE_CUDA": "cuda>=99", "NVIDIA_DISABLE_REQUIRE": "0"}, OLD) == "cuda>=99"
