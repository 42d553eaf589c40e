"""Long runs of a gateway under faults: make faults-gateway

    python -m tests.faults.gateway_runs --requests 10000 --every 60

Every `every` seconds one of three hosts is killed whole, and comes back. It prints how many requests failed before the
first byte of an answer, which has to be none, and how soon the streams that the host was sending ended. Then tunnels
are paused, the control plane is away, the gateway itself is killed, and 200 callers stop reading.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.faults.gateway_callers import Callers, Ended, StalledReaders
from tests.fixtures.gateway_rig import GatewayRig, TunnelHost
from tests.fixtures.waiting import eventually

HOSTS = 3
KILLED_ENDS_WITHIN = 1.0
"""Seconds within which a stream ends whose host was killed."""
PAUSED_ENDS_WITHIN = 6.5
"""Seconds within which a stream ends whose tunnel answers nothing any more: 6, and what this machine takes."""
STALLED = 200
MOST_SHOWN = 5


def broken_after(ended: list[Ended], moments: list[float], within: float) -> tuple[list[float], list[Ended]]:
    """How long after the last moment each stream ended, and those that ended later than `within` or without a cause."""
    delays, late = [], []
    for each in ended:
        before = [moment for moment in moments if moment <= each.ended]
        if not before or each.ended - before[-1] > within:
            late.append(each)
        if before:
            delays.append(each.ended - before[-1])
    return delays, late


def kills(rig: GatewayRig, requests: int, every: float) -> bool:
    """Whether no request failed before its first byte, and broken streams ended in time."""
    moments: list[float] = []
    with Callers(rig.gateway.port, rig.key) as callers:
        for host in _in_turn(rig, callers, requests):
            time.sleep(every)
            moments.append(time.monotonic())
            host.lose()
            host.start()
            eventually(rig.ready, what="the host to come back")
            print(f"{len(callers.ended)} requests, {len(moments)} hosts lost", flush=True)
    delays, late = broken_after(callers.broken, moments, KILLED_ENDS_WITHIN)
    print(f"killed: {len(callers.ended)} requests, {len(moments)} losses of a host")
    return _judged(callers, delays, late, KILLED_ENDS_WITHIN)


def pauses(rig: GatewayRig, times: int) -> bool:
    """The same for a tunnel that answers nothing any more, though its connections stay open."""
    moments: list[float] = []
    with Callers(rig.gateway.port, rig.key) as callers:
        for number in range(times):
            host = rig.hosts[number % HOSTS]
            eventually(lambda: len(callers.ended), lambda count: count > 50 * len(moments), "requests")
            moments.append(time.monotonic())
            with host.paused():
                eventually(lambda: rig.gateway.metric("muster_gateway_tunnel_workers"), lambda n: n < HOSTS, "the end")
            eventually(rig.ready, what="the host to come back")
    delays, late = broken_after(callers.broken, moments, PAUSED_ENDS_WITHIN)
    print(f"paused: {len(callers.ended)} requests, {times} tunnels paused")
    return _judged(callers, delays, late, PAUSED_ENDS_WITHIN)


def plane_away(rig: GatewayRig, seconds: float) -> bool:
    """Requests are answered while the control plane is away; whether all were."""
    rig.serve.kill()
    with Callers(rig.gateway.port, rig.key) as callers:
        time.sleep(seconds)
    rig.serve.start()
    eventually(rig.ready, what="the control plane to come back")
    print(f"control plane away for {seconds:.0f} s: {len(callers.ended)} requests")
    return _judged(callers, [], callers.broken, 0)


def gateway_killed(rig: GatewayRig, times: int) -> bool:
    """The gateway is killed and started again: requests that it had end, and the next ones wait for the hosts."""
    for _ in range(times):
        rig.gateway.kill()
        rig.gateway.start()
        with Callers(rig.gateway.port, rig.key) as callers:
            eventually(lambda: len(callers.ended), lambda count: count >= 10 * HOSTS, "requests")
        if callers.failed_before_a_byte or callers.broken:
            return _judged(callers, [], callers.broken, 0)
    print(f"gateway killed {times} times: every request after its start was answered")
    return True


def stalled_readers(rig: GatewayRig, rounds: int) -> bool:
    """What 200 callers that read nothing take from 50 that do, and of the gateway's memory."""
    process = psutil.Process(rig.gateway.process.pid)
    changes, before = [], process.memory_info().rss
    with Callers(rig.gateway.port, rig.key, count=50) as callers:
        _p99_of_next(callers)  # until connections are open
        for _ in range(rounds):
            alone = _p99_of_next(callers)
            with StalledReaders(rig.gateway.port, rig.key, STALLED):
                _p99_of_next(callers, 100)  # until they have what they will ever have
                changes.append(_p99_of_next(callers) / alone)
                held = process.memory_info().rss - before
    print(f"{STALLED} callers that read nothing, {rounds} times: {len(callers.ended)} requests of 50 others")
    print(f"  p99 of the others, with them divided by without: median {statistics.median(changes):.2f}")
    print(f"  memory of the gateway: {held / STALLED / 1024:.0f} KiB for each of them")
    return _judged(callers, [], callers.broken, 0)


def _p99_of_next(callers: Callers, count: int = 600) -> float:
    """Of the next so many answers that are not streamed, in seconds."""
    first = len(callers.ended)
    eventually(lambda: len(callers.short_waits(first)), lambda ended: ended >= count, "requests")
    return statistics.quantiles(callers.short_waits(first), n=100)[98]


def _in_turn(rig: GatewayRig, callers: Callers, requests: int) -> Iterator[TunnelHost]:
    """One host after another, until so many requests have ended."""
    number = 0
    while len(callers.ended) < requests:
        yield rig.hosts[number % HOSTS]
        number += 1


def _judged(callers: Callers, delays: list[float], late: list[Ended], within: float) -> bool:
    failed = callers.failed_before_a_byte
    print(f"  failed before the first byte: {len(failed)}")
    if delays:
        print(f"  streams that were broken: {len(delays)}; the last ended {max(delays):.2f} s after the fault")
    for each in [*failed, *late][:MOST_SHOWN]:
        print(f"  !! {each}")
    if late:
        print(f"  !! {len(late)} streams ended later than {within:.0f} s after a fault, or without one")
    return not failed and not late


def main() -> int:
    parser = argparse.ArgumentParser(description="Long runs of a gateway under faults.")
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--every", type=float, default=60.0, help="seconds between two losses of a host (60)")
    parser.add_argument("--pauses", type=int, default=6, help="how often a tunnel is paused (6)")
    parser.add_argument("--away", type=float, default=60.0, help="seconds for which the control plane is away (60)")
    parser.add_argument("--rounds", type=int, default=10, help="how often 200 callers stop reading (10)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, GatewayRig(Path(folder), HOSTS) as rig:
        print("All hosts serve.", flush=True)
        outcomes = [
            kills(rig, options.requests, options.every),
            pauses(rig, options.pauses),
            plane_away(rig, options.away),
            gateway_killed(rig, options.pauses),
            stalled_readers(rig, options.rounds),
        ]
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
