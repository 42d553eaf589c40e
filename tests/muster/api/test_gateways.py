"""The wire types of gateways: they pass through JSON as they are, and bound what a gateway may send."""

from __future__ import annotations

import msgspec
import pytest

from muster.api import gateways as g

SUM = {"key_id": "k", "model": "m", "day": "2026-12-01"}


def test_everything_passes_through_json_as_it_is() -> None:
    caller = g.Caller("k", "d" * 64, "app", ["qwen"], rpm=60, expires_at=5.0)
    routes = g.Routes(
        [g.Replica("d", "qwen", "w", "host", tunnel=True)], [g.StartingModel("e", "x", "pending")], [caller], 2.0
    )
    registered = g.GatewayRegistered("id", [g.TicketKey(1, b"\x00\xff")], 30.0)
    for value in (routes, registered, g.Usage("2026-12-01", "2026-12-02", [g.UsageRow(1, 2, 3, key="app")])):
        assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        (g.GatewayRegistration, {"url": "ftp://x"}),
        (g.GatewayRegistration, {"url": "https://x y"}),
        (g.GatewayRegistration, {"url": "https://" + "x" * 600}),
        (g.UsageReport, {"ledger_id": "", "sums": []}),
        (g.UsageReport, {"ledger_id": "l", "sums": [{"key_id": "k", "model": "m", "day": "today"}]}),
        (
            g.UsageReport,
            {"ledger_id": "l", "sums": [{"key_id": "k", "model": "m", "day": "2026-12-01", "requests": -1}]},
        ),
        (g.UsageReport, {"ledger_id": "l", "sums": [{"key_id": "k", "model": "m", "day": "2026-12-01"}] * 101}),
    ],
)
def test_what_is_out_of_bounds_is_refused(shape: type, body: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(body, type=shape)
