"""Which rules a client is reconciled by."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.reconcile.client_rules import AGENT, BASIC_CLIENT, rules_for
from muster.api import messages as m


def test_a_client_that_sends_the_fields_of_worker_api_alone_is_a_basic_client() -> None:
    assert rules_for(m.Heartbeat("online", [], ["d"])) is BASIC_CLIENT


@pytest.mark.parametrize("fields", [{"session": 1}, {"journal_id": "j"}, {"inbox": 0}, {"acks": ["d-g1"]}])
def test_a_client_that_sends_a_field_of_the_agent_is_one(fields: dict[str, Any]) -> None:
    assert rules_for(m.Heartbeat("online", [], [], **fields)) is AGENT
