"""A month's bill: what was counted, times how often it happens, times the prices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from chalicelib.gateways.records import RENEW_SECONDS
from chalicelib.store import settings
from chalicelib.workers.heartbeat import RECONCILE_EVERY_HEARTBEATS
from infra.cloud import prices
from muster.api.tickets import LIFETIME_SECONDS
from muster.gateway.plane_link import USAGE_SECONDS
from muster_agent.tunnel.tunnel_supervisor import RENEW_AT
from tests.cost.function import OF_GATEWAY
from tests.cost.gateways import OfGateways
from tests.cost.month import LOOK_SECONDS, Counted
from tests.cost.use import Use

MONTH = 30 * 86400.0
MINUTE = 60.0
MEMORY_GB = 1.0
CORES = 1024 / 1769
"""Of a function with 1,024 MB: Lambda gives a whole one for 1,769 MB."""
ROUND_TRIP = 0.005
"""Assumed, in seconds: what a function waits for DynamoDB in its own region. There is no account here to measure it."""
ROUNDING = 0.0005
"""Lambda charges for milliseconds that were begun."""
DEPLOYMENTS = 10
"""Assumed: how many come and go on a worker in a month."""
ALARMS = 8
"""Assumed: of errors, throttles, duration, missing sweeps."""
Api = Literal["http", "rest"]


@dataclass(frozen=True)
class Line:
    service: str
    what: str
    quantity: float
    unit: str
    dollars: float


@dataclass(frozen=True)
class Month:
    """How often what was counted happens in a month."""

    counted: Counted
    workers: int
    deployments: int = DEPLOYMENTS

    @property
    def beats(self) -> float:
        return self.workers * MONTH / settings.HEARTBEAT

    @property
    def lives(self) -> float:
        return self.workers * self.deployments

    @property
    def of_heartbeats(self) -> Use:
        return self.counted.beat * self.beats

    @property
    def of_sweeps(self) -> Use:
        return self.counted.sweep * (MONTH / MINUTE)

    @property
    def of_deployments(self) -> Use:
        return (self.counted.life + self.counted.beat * self.counted.quick) * self.lives

    @property
    def looks(self) -> float:
        """Of one console that is open all month, and which nobody touches."""
        return MONTH / LOOK_SECONDS

    @property
    def use(self) -> Use:
        return self.of_heartbeats + self.of_sweeps + self.of_deployments

    @property
    def stored(self) -> float:
        """Bytes: timelines are kept for 30 days."""
        return self.workers * self.counted.worker_bytes + self.lives * self.counted.life_bytes


@dataclass(frozen=True)
class GatewaysMonth:
    """How often what was counted of gateways happens in a month: how many requests, or tickets, and their use."""

    counted: OfGateways
    month: Month
    gateways: int

    @property
    def polls(self) -> float:
        return self.gateways * MONTH / settings.GATEWAY_POLL

    @property
    def news(self) -> float:
        """Polls that are answered with the routes: each change once to each gateway, as long as there are polls."""
        return min(self.polls, self.gateways * self.month.lives * self.counted.changes)

    @property
    def of_polls(self) -> Use:
        return self.counted.poll * self.polls + self.counted.news * self.news

    @property
    def registrations(self) -> float:
        return self.gateways * MONTH / RENEW_SECONDS

    @property
    def reports(self) -> float:
        return self.gateways * MONTH / USAGE_SECONDS

    @property
    def tickets(self) -> float:
        """Answers to heartbeats that have tickets."""
        return self.month.beats / RECONCILE_EVERY_HEARTBEATS

    @property
    def renewals(self) -> float:
        """Requests of agents whose heartbeats bring the next tickets too late."""
        between = RECONCILE_EVERY_HEARTBEATS * settings.HEARTBEAT
        return self.tickets * (math.ceil(between / (RENEW_AT * LIFETIME_SECONDS)) - 1)

    @property
    def lines(self) -> list[tuple[str, float, str, Use]]:
        """What, how often, the unit, and what all of it takes."""
        counted = self.counted
        return [
            (f"routes, every {settings.GATEWAY_POLL:g} s", self.polls, "requests", self.of_polls),
            (
                f"registrations, every {RENEW_SECONDS:g} s",
                self.registrations,
                "requests",
                counted.registration * self.registrations,
            ),
            (f"usage, every {USAGE_SECONDS:g} s", self.reports, "requests", counted.usage * self.reports),
            ("tickets, with heartbeats", self.tickets, "answers", counted.tickets * self.tickets),
            ("tickets, asked for", self.renewals, "requests", counted.renewal * self.renewals),
        ]

    def bill(self, api: Api, round_trip: float = ROUND_TRIP) -> list[Line]:
        return [
            Line("Gateways", what, quantity, unit, price_of(use, api, round_trip))
            for what, quantity, unit, use in self.lines
        ]


def seconds(use: Use, round_trip: float = ROUND_TRIP) -> float:
    """Of a function: its processor time on its part of a core, and its waiting for the database."""
    return use.cpu / CORES + use.calls * round_trip + use.invocations * ROUNDING


def bill(month: Month, api: Api, round_trip: float = ROUND_TRIP) -> list[Line]:
    use, stored = month.use, month.stored
    gb_seconds = seconds(use, round_trip) * MEMORY_GB
    sent = use.sent + use.requests * len(OF_GATEWAY[api])
    sweeps = MONTH / MINUTE
    p = prices
    look = prices.Price(price_of(month.counted.look, api, round_trip), 1, "the lines above")
    rows = (
        ("API Gateway", f"{api.upper()} API, requests", use.requests, "requests", p.REQUEST[api]),
        ("Lambda", "invocations", use.invocations, "invocations", p.INVOCATION),
        ("Lambda", "arm64, 1,024 MB", gb_seconds, "GB-s", p.GB_SECOND),
        ("DynamoDB", "writes, on demand", use.writes, "units", p.WRITE_UNIT),
        ("DynamoDB", "reads, on demand", use.reads, "units", p.READ_UNIT),
        ("DynamoDB", "storage", stored, "bytes", p.STORED),
        ("DynamoDB", "point-in-time recovery", stored, "bytes", p.POINT_IN_TIME),
        ("CloudWatch", "logs written", use.logged, "bytes", p.LOG_INGESTED),
        ("CloudWatch", "logs kept for 30 days", use.logged, "bytes", p.LOG_STORED),
        ("CloudWatch", "alarms", ALARMS, "alarms", p.ALARM),
        ("EventBridge", "the schedule of the sweep", sweeps, "invocations", p.SCHEDULED),
        ("Data transfer", "answers, to the internet", sent, "bytes", p.SENT),
        ("Console", "one tab, open all month", month.looks, "requests", look),
    )
    return [Line(service, what, quantity, unit, price * quantity) for service, what, quantity, unit, price in rows]


def price_of(use: Use, api: Api, round_trip: float = ROUND_TRIP) -> float:
    """Dollars for all of it together."""
    p = prices
    parts = (
        (p.REQUEST[api], use.requests),
        (p.INVOCATION, use.invocations),
        (p.GB_SECOND, seconds(use, round_trip) * MEMORY_GB),
        (p.WRITE_UNIT, use.writes),
        (p.READ_UNIT, use.reads),
        (p.LOG_INGESTED, use.logged),
        (p.LOG_STORED, use.logged),
        (p.SENT, use.sent + use.requests * len(OF_GATEWAY[api])),
    )
    return sum(price * quantity for price, quantity in parts)


def total(lines: list[Line]) -> float:
    return sum(line.dollars for line in lines)
