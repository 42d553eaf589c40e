"""What agent and child send each other passes through a line of JSON as it is."""

from __future__ import annotations

import msgspec

from muster_agent.tunnel.orders import Drained, GatewayOrder, ModelTarget, Orders


def test_orders_and_answers_are_one_line_each() -> None:
    model = ModelTarget("i", "127.0.0.1", 8001, "key\n")
    orders = Orders([GatewayOrder("https://x", "t")], {"d": model}, ["i"], ["/v1/tokenize"], insecure=True)
    for value in (orders, Drained("i"), Orders()):
        line = msgspec.json.encode(value)
        assert b"\n" not in line and msgspec.json.decode(line, type=type(value)) == value
