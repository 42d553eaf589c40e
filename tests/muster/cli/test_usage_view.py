"""muster usage and muster gateways: tables, and what an empty one says."""

from __future__ import annotations

import datetime

from chalicelib.auth.tokens import Principal
from chalicelib.gateways import records, usage_sums
from muster.api import gateways as g
from muster.api import resources as r
from muster.api.endpoints import Access
from tests.fixtures.operators import Operators


def test_usage_is_shown_by_what_is_asked_for(operators: Operators) -> None:
    assert "No usage" in operators.out("usage")
    key = operators.json("keys create app --role caller --model qwen", r.ApiKey)
    now = operators.clock()
    today = str(datetime.datetime.fromtimestamp(now, datetime.timezone.utc).date())
    total = g.UsageSum(key.key_id, "qwen", today, 3, 40, 500)
    usage_sums.store(g.UsageReport("ledger", [total]), now)
    for by, first in (("key", "app"), ("model", "qwen"), ("day", today)):
        row = operators.out(f"usage --by {by}").splitlines()[-1].split()
        assert row == [first, "3", "40", "500"]
    assert operators.out("usage --by key,model --since 1d").splitlines()[-1].split() == [
        "app",
        "qwen",
        "3",
        "40",
        "500",
    ]
    assert operators.json("usage", g.Usage).rows[0].requests == 3


def test_gateways_are_listed_with_their_urls(operators: Operators) -> None:
    assert "No gateways" in operators.out("gateways")
    key = operators.json("keys create edge --role gateway", r.ApiKey)
    by = Principal("key edge", Access.GATEWAY, key.key_id)
    records.register(g.GatewayRegistration("https://models.example.com", "0.2.0"), by, operators.clock())
    assert "https://models.example.com" in operators.out("gateways")
    assert operators.json("gateways", g.GatewayList).gateways[0].version == "0.2.0"


def test_keys_show_roles_limits_and_expiry(operators: Operators) -> None:
    operators.out("keys create app --role caller --model qwen --rpm 60 --expires 30d")
    operators.out("keys create edge --role gateway")
    listed = operators.out("keys")
    assert "qwen, 60 rpm" in listed and "edge" in listed and "in 30d" in listed
    assert "edge" not in operators.out("keys --role caller")
    assert "app is revoked" in operators.out("keys revoke app")
