"""What gateways add to a month, counted as the rest is: by calls of the app before a real DynamoDB engine.

a poll           ten minutes of questions for routes that stay the same, which are answered 304
news             what an answer with the routes takes beside that, and how many of them a deployment brings
a registration   which a gateway renews
usage            a report of what callers used in a minute
tickets          of a worker that dials the gateways: with a tenth heartbeat, or asked for
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from chalicelib.auth import tokens
from chalicelib.routes.http import CLOCK, Clock
from chalicelib.store import settings
from chalicelib.store.tables import WorkerHeartbeat
from chalicelib.telemetry.fleet_reader import FULL_SECONDS
from chalicelib.workers.heartbeat import RECONCILE_EVERY_HEARTBEATS
from muster.api import messages as m
from tests.cost import function, month
from tests.cost.month import Agent
from tests.cost.use import Use
from tests.fixtures.large_fleet import deployments_like
from tests.fixtures.plane_world import PlaneWorld

SUMS = 10
"""Assumed: pairs of a key and a model that somebody uses in a minute."""
CALLERS = 20
"""Assumed: keys of callers, which routes contain."""
TURNS = 3
TENTHS = 10


@dataclass(frozen=True)
class OfGateways:
    """`changes`: answers with other routes than before that one deployment brings. The rest is of one request each;
    `news` and `tickets` are what comes on top of a poll that is answered 304, and of a heartbeat.
    """

    poll: Use
    news: Use
    changes: int
    registration: Use
    usage: Use
    tickets: Use
    renewal: Use


@dataclass
class Gateway:
    """A gateway, as far as its requests go (muster/gateway/plane_link.py)."""

    key: str
    url: str
    tag: str | None = None

    def register(self) -> Use:
        return function.request("register_gateway", {}, self.key, {"url": self.url, "version": "0.2.0"})[1]

    def report(self, day: str, requests: int) -> Use:
        """A report of `SUMS` sums that have grown to so many requests."""
        sums = [
            {
                "key_id": f"7e858108-b0cc-4d3f-bae0-206d13a7{number:04}",
                "model": "Qwen/Qwen3-0.6B",
                "day": day,
                "requests": requests,
                "prompt_tokens": 900 * requests,
                "completion_tokens": 300 * requests,
            }
            for number in range(SUMS)
        ]
        return function.request("report_usage", {}, self.key, {"ledger_id": self.url, "sums": sums})[1]

    def poll(self) -> tuple[bool, Use]:
        """Whether the routes are others than the last time; and what the request took."""
        answer, use = function.conditional("gateway_routes", self.key, self.tag)
        self.tag = answer["headers"]["ETag"]
        return answer["statusCode"] == 200, use


def count(workers: int, gateways: int) -> OfGateways:
    """With so many gateways, and as many deployments on each worker as in `month`. Raises dynoxide.Unavailable."""
    with month.fleet(workers, features=[m.TUNNEL]) as (world, first), _clock_of(world):
        others = [str(each.worker_id) for each in WorkerHeartbeat.scan() if each.worker_id != first.id]
        deployments_like(first, others)
        for number in range(CALLERS):
            tokens.seed_key(tokens.new_secret("key"), f"app-{number}", "caller", world.now)
        agent = Agent(first, list(first.active))
        agent.beat()
        before = _beats(agent)
        several = [_gateway(world, number) for number in range(gateways)]
        for gateway in several:
            gateway.register()
        tickets = _beats(agent) - before
        function.sweep()  # the first one of a release compares the index of free capacity with every worker
        return OfGateways(
            changes=_changes(world, agent, several[0]),
            poll=_poll(world, agent, several),
            news=_news(several[0]),
            registration=several[0].register(),
            usage=_usage(world, several[0]),
            tickets=tickets.at_least_nothing() * (1 / TENTHS),
            renewal=function.request("worker_gateways", {"worker_id": first.id}, first.token, {})[1],
        )


@contextlib.contextmanager
def _clock_of(world: PlaneWorld) -> Iterator[None]:
    """The app has the time of the world."""
    before = CLOCK.set(Clock(lambda: world.now))
    try:
        yield
    finally:
        CLOCK.reset(before)


def _gateway(world: PlaneWorld, number: int) -> Gateway:
    key = tokens.new_secret("key")
    tokens.seed_key(key, f"gateway-{number}", "gateway", world.now)
    return Gateway(key, f"https://models-{number}.example.com")


def _beats(agent: Agent) -> Use:
    """`TENTHS` times ten heartbeats, of which one reconciles."""
    return sum((agent.beat() for _ in range(TENTHS * RECONCILE_EVERY_HEARTBEATS)), Use())


def _changes(world: PlaneWorld, agent: Agent, gateway: Gateway) -> int:
    """Answers with other routes, if the gateway asks after each step in the life of a deployment."""
    gateway.poll()
    changed = 0
    for _ in month.steps(agent):
        world.pass_(settings.GATEWAY_POLL)
        changed += gateway.poll()[0]
    return changed


def _poll(world: PlaneWorld, agent: Agent, several: list[Gateway]) -> Use:
    """One poll of one of the gateways, on average, over a fleet that is idle: with its share of what is read anew."""
    for gateway in several:
        gateway.poll()
    use, count = Use(), 0
    began = world.now
    while world.now - began < 2 * FULL_SECONDS:
        agent.beat()
        for gateway in several:
            world.pass_(settings.GATEWAY_POLL / len(several))
            is_news, took = gateway.poll()
            assert not is_news, "the fleet is idle"
            use, count = use + took, count + 1
    return use * (1 / count)


def _news(gateway: Gateway) -> Use:
    """What an answer with the routes takes more than 304, of the same reading."""
    use = Use()
    for _ in range(TURNS):
        use -= gateway.poll()[1]
        gateway.tag = None
        use += gateway.poll()[1]
    return use.at_least_nothing() * (1 / TURNS)


def _usage(world: PlaneWorld, gateway: Gateway) -> Use:
    """A report whose sums are known already and have grown."""
    day = str(datetime.datetime.fromtimestamp(world.now, datetime.timezone.utc).date())
    gateway.report(day, requests=1)
    return sum((gateway.report(day, requests=2 + turn) for turn in range(TURNS)), Use()) * (1 / TURNS)
