"""Stages of one account have no table in common."""

from __future__ import annotations

from infra.cloud.names import prefix
from infra.cloud.restore import TABLE_NAMES


def test_no_table_is_of_two_stages() -> None:
    stages = ["prod", "prod-2", "prod2", "staging", "p"]
    tables = [prefix(stage) + name for stage in stages for name in TABLE_NAMES]
    assert "muster-prod-events" in tables and len(set(tables)) == len(stages) * len(TABLE_NAMES)
