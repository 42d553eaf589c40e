"""What a gateway says at its start, in each situation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from muster.api.gateways import Caller, Replica, Routes
from muster.api.version import VERSION
from muster.gateway.config import GatewayConfig
from muster.gateway.core import Core
from muster.gateway.first_words import greeting, situation

NOW = 1_796_126_400.0
"""2026-12-01T12:00:00Z."""
PROBLEM = "cannot reach https://muster.example: the connection was refused"


def core_of(folder: Path, **options: Any) -> Core:
    return Core(GatewayConfig("https://models.example", "https://muster.example", "mst_key_x", folder, **options))


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    made = core_of(tmp_path)
    yield made
    made.close()


def routes(count: int, callers: int = 0) -> Routes:
    replicas = [Replica(f"d{number}", f"model-{number:02}", "w", "gpu-1") for number in range(count)]
    return Routes(replicas, [], [Caller(f"k{number}", f"{number:064}", "app") for number in range(callers)], 2)


def test_it_says_where_it_serves(core: Core, tmp_path: Path) -> None:
    assert greeting(core, "0.0.0.0:8080") == [
        f"Muster gateway {VERSION} serves https://models.example/v1, listening on 0.0.0.0:8080"
    ]
    assert greeting(core, "models.example") == [f"Muster gateway {VERSION} serves https://models.example/v1"]
    selected = core_of(tmp_path / "b", selector={"site": "lab"})
    assert greeting(selected, "x:1")[1] == "Only workers with site=lab"
    selected.close()


def test_with_models_and_keys_it_says_how_to_try_it(core: Core) -> None:
    core.trust.reached(NOW)
    core.table.update(routes(2, callers=1))
    assert situation(core, None, NOW) == [
        "Models: model-00, model-01",
        "Try it: curl https://models.example/v1/models -H 'Authorization: Bearer KEY'",
    ]


def test_without_models_or_keys_it_says_how_to_get_them(core: Core) -> None:
    core.trust.reached(NOW)
    assert situation(core, None, NOW) == [
        "No model runs yet: muster deploy MODEL",
        "Callers need a key: muster keys create my-app --role caller",
    ]


def test_of_many_models_it_names_some(core: Core) -> None:
    core.trust.reached(NOW)
    core.table.update(routes(11))
    assert situation(core, None, NOW)[0].endswith("model-06, model-07 and 3 more")


def test_alone_without_routes_it_says_what_callers_get(core: Core) -> None:
    core.trust.failed(PROBLEM)
    assert situation(core, PROBLEM, NOW) == [
        f"{PROBLEM}. Callers get 503 until the control plane answers; the gateway tries again"
    ]


def test_alone_with_kept_routes_it_says_how_old_they_are(core: Core) -> None:
    core.trust.restore(NOW - 3600, NOW)
    core.table.update(routes(1))
    core.trust.failed(PROBLEM)
    assert situation(core, PROBLEM, NOW) == [
        f"{PROBLEM}. Serving the routes of 2026-12-01 11:00:00 UTC meanwhile",
        "Model: model-00",
    ]


def test_alone_with_routes_that_are_too_old_it_serves_nobody(core: Core) -> None:
    core.trust.restore(NOW - 90_000, NOW)
    core.table.update(routes(1))
    core.trust.failed(PROBLEM)
    (line,) = situation(core, PROBLEM, NOW)
    assert "older than --offline-for" in line and "2026-11-30 11:00:00 UTC" in line


def test_a_registration_that_failed_beside_good_routes_is_said(core: Core) -> None:
    core.trust.reached(NOW)
    core.table.update(routes(1, callers=1))
    assert situation(core, "503 UNAVAILABLE: try again", NOW)[0] == (
        "503 UNAVAILABLE: try again; the gateway tries again"
    )


def test_a_refused_key_is_said_by_the_error_alone(core: Core) -> None:
    core.trust.revoke("401")
    assert situation(core, "401", NOW) == []
