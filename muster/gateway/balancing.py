"""Which replica answers: the one with the fewest requests under way, or the one that knows the conversation.

A conversation goes where it went before, so that the model finds the beginning of the prompt in its cache: consistent
hashing by rendezvous, with bounded load, so that one long conversation does not overload a replica (Mirrokni et al.,
"Consistent Hashing with Bounded Loads", 2016).
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence

from muster.api.gateways import Replica

LOAD_BOUND = 1.25
"""How much more than the mean of all replicas one may have under way, and still get its conversations."""


class Balancer:
    """`under_way` counts the requests of each deployment."""

    def __init__(self) -> None:
        self.under_way: Counter[str] = Counter()
        self._turn = 0

    def begin(self, deployment_id: str) -> None:
        self.under_way[deployment_id] += 1

    def end(self, deployment_id: str) -> None:
        self.under_way[deployment_id] -= 1
        if not self.under_way[deployment_id]:
            del self.under_way[deployment_id]

    def choose(self, replicas: Sequence[Replica], conversation: bytes | None) -> Replica:
        """One of the replicas, of which there is at least one."""
        if len(replicas) == 1:
            return replicas[0]
        if conversation is not None:
            return self._by_conversation(replicas, conversation)
        self._turn += 1
        start = self._turn % len(replicas)
        in_turn = [*replicas[start:], *replicas[:start]]
        return min(in_turn, key=lambda replica: self.under_way[replica.deployment_id])

    def _by_conversation(self, replicas: Sequence[Replica], conversation: bytes) -> Replica:
        total = sum(self.under_way[replica.deployment_id] for replica in replicas)
        most = math.ceil(LOAD_BOUND * (total + 1) / len(replicas))
        ranked = sorted(replicas, key=lambda replica: _rank(replica.deployment_id, conversation))
        return next((each for each in ranked if self.under_way[each.deployment_id] < most), ranked[0])


def _rank(deployment_id: str, conversation: bytes) -> bytes:
    return hashlib.blake2b(deployment_id.encode(), key=conversation[:64], digest_size=8).digest()
