"""Which replica answers."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from muster.gateway.balancing import LOAD_BOUND, Balancer
from tests.fixtures.gateway_world import replica

REPLICAS = [replica(number) for number in range(1, 5)]


def test_the_one_with_the_fewest_requests_under_way_and_all_in_turn() -> None:
    balancer = Balancer()
    for each in REPLICAS[:3]:
        balancer.begin(each.deployment_id)
    assert {balancer.choose(REPLICAS, None).deployment_id for _ in range(8)} == {"d4"}
    balancer.begin("d4")
    assert {balancer.choose(REPLICAS, None).deployment_id for _ in range(8)} == {"d1", "d2", "d3", "d4"}
    balancer.end("d4")
    assert balancer.under_way == Counter({"d1": 1, "d2": 1, "d3": 1}), "nothing is kept of what has ended"


@given(st.binary(min_size=1, max_size=80))
def test_a_conversation_stays_also_when_another_replica_comes_or_goes(conversation: bytes) -> None:
    chosen = Balancer().choose(REPLICAS, conversation)
    assert Balancer().choose(list(reversed(REPLICAS)), conversation) == chosen
    others = [each for each in REPLICAS if each != chosen]
    assert Balancer().choose([chosen, *others[1:]], conversation) == chosen


def test_no_replica_gets_more_than_its_bound_of_the_load() -> None:
    balancer = Balancer()
    for number in range(1, 101):
        chosen = balancer.choose(REPLICAS, b"one and the same")
        balancer.begin(chosen.deployment_id)
        assert max(balancer.under_way.values()) <= math.ceil(LOAD_BOUND * number / len(REPLICAS))
    assert len(balancer.under_way) == 4


def test_conversations_spread_over_the_replicas() -> None:
    chosen = Counter(Balancer().choose(REPLICAS, b"conversation %d" % n).deployment_id for n in range(400))
    assert min(chosen.values()) > 50
