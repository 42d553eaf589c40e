"""What AWS asks for what a control plane uses, in dollars: list prices of one region on one day.

The one place where prices are; whoever pays others changes them here. First tiers are meant: beyond 300 million
requests a month API Gateway takes a tenth less. Free tiers are not counted, since they end or are used by others.
"""

from __future__ import annotations

from dataclasses import dataclass

REGION = "us-east-1"
AS_OF = "2026-11-24"
"""When this table was written, without AWS's pages at hand: requests, invocations, GB-seconds and transfer were found
repeated elsewhere, the others were not. Look at the pages before a decision rests on them."""
MILLION, GB = 1e6, 1e9


@dataclass(frozen=True)
class Price:
    """`dollars` for so many (`per`) of a unit, and the page of aws.amazon.com that says so."""

    dollars: float
    per: float
    page: str

    def __mul__(self, quantity: float) -> float:
        return self.dollars * quantity / self.per


DYNAMODB, LAMBDA, GATEWAY = "/dynamodb/pricing/on-demand/", "/lambda/pricing/", "/api-gateway/pricing/"
CLOUDWATCH, EVENTBRIDGE, EC2 = "/cloudwatch/pricing/", "/eventbridge/pricing/", "/ec2/pricing/on-demand/"

WRITE_UNIT = Price(0.625, MILLION, DYNAMODB)
READ_UNIT = Price(0.125, MILLION, DYNAMODB)
STORED = Price(0.25, GB, DYNAMODB)
POINT_IN_TIME = Price(0.20, GB, DYNAMODB)
INVOCATION = Price(0.20, MILLION, LAMBDA)
GB_SECOND = Price(0.0000133334, 1, LAMBDA)
"""Of arm64."""
REQUEST = {"http": Price(1.00, MILLION, GATEWAY), "rest": Price(3.50, MILLION, GATEWAY)}
LOG_INGESTED = Price(0.50, GB, CLOUDWATCH)
LOG_STORED = Price(0.03, GB, CLOUDWATCH)
ALARM = Price(0.10, 1, CLOUDWATCH)
SCHEDULED = Price(1.00, MILLION, EVENTBRIDGE)
"""As the Scheduler's invocations; a rule on the default bus, as Chalice makes one, has no price of its own."""
SENT = Price(0.09, GB, EC2)
"""To the internet, the first 10 TB of a month. What comes in is free."""
