"""`kill -9` of the agent and of serve at moments drawn by lot, while operators work and the network between them fails.

Afterwards everything is as it was asked to be, nothing ran twice, and at no moment did a deployment have two models.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.churn import ACTS, TERMINAL, Churn
from tests.faults.conftest import Planes
from tests.faults.instances import Watch, supervisors_of
from tests.faults.proxy import IN_ORDER, Deck, Proxy
from tests.faults.rig import Plane, ProxiedHost, host
from tests.fixtures.waiting import eventually

SEED = 20261124
BETWEEN = (0.2, 1.8)
"""Seconds between two kills, at least and at most."""
DOWN = (0.0, 0.8)
"""Seconds that the server is down, at least and at most."""


def test_whoever_is_killed_everything_comes_to_be_as_it_was_asked_to_be(
    planes: Planes, tmp_path: Path, thorough: bool
) -> None:
    kills, least_faults = (50, 5) if thorough else (4, 1)
    random, deck, operators = Random(SEED), Deck(SEED), Deck(SEED + 1, IN_ORDER)
    with (
        planes(tmp_path) as plane,
        host(tmp_path / "host", plane, "host", deck=deck) as worker,
        proxied(plane, operators) as proxy,
    ):
        eventually(lambda: plane.worker("host"), bool, "it joined through the faults")
        churn = Churn(
            proxy.url, plane.serve.url, plane.worker("host")["worker_id"], worker.folder / "hub", Random(SEED)
        )
        over = threading.Event()
        with Watch(worker.folder) as watch, ThreadPoolExecutor(1) as pool:
            working = pool.submit(churn.run, over)
            try:
                killed = kill_at_random(plane, worker, kills, random, watch)
                for each in (deck, operators):
                    eventually(each.rarest, lambda count: count >= least_faults, "each fault often enough")
                eventually(lambda: watch.most, lambda most: most >= 2, "two models at once")
                if thorough:
                    eventually(lambda: all(churn.acts[act] for act in ACTS), what="each act at least once")
            finally:
                over.set()
            working.result()
            deck.bad = operators.bad = False
            began = time.monotonic()
            poisoned = come_to_rest(plane, worker, churn)
            rested = time.monotonic() - began
        wrong = disagreements(plane, worker, churn)
        faults = deck.happened + operators.happened
        print(f"killed {dict(killed)}; faults {dict(faults)}; acts {dict(churn.acts)}, {churn.retries} of them again;")
        print(f"operations {dict(Counter(churn.ended.values()))}; at rest after {rested:.0f} s; POISON {poisoned};")
        print(f"{watch.looks} looks, at most {watch.most} models at once, two of one deployment: {len(watch.doubles)}")

    assert not wrong, "\n".join(wrong)
    assert not watch.doubles, watch.doubles
    assert min(killed.values()) >= kills // 4
    assert poisoned <= kills // 10, "three deaths in a row in one action are a rare accident"


@contextmanager
def proxied(plane: Plane, deck: Deck) -> Iterator[Proxy]:
    proxy = Proxy(plane.serve.port, deck)
    try:
        yield proxy
    finally:
        proxy.end()


def kill_at_random(plane: Plane, worker: ProxiedHost, kills: int, random: Random, watch: Watch) -> Counter[str]:
    """Half of them each, in an order by lot.

    Before each kill the models are looked at ten times. An agent is killed while it starts, or after a heartbeat: on a
    slow machine it would otherwise never get further than its start.
    """
    victims = ["agent", "serve"] * (kills // 2)
    random.shuffle(victims)
    for victim in victims:
        goes_on(lambda: watch.looks, 10)
        if random.random() < 0.5:
            goes_on(lambda: worker.proxy.count("/heartbeat"), 1)
        time.sleep(random.uniform(*BETWEEN))
        (worker if victim == "agent" else plane.serve).kill()
        time.sleep(random.uniform(*DOWN))
        (worker if victim == "agent" else plane.serve).start()
    return Counter(victims)


def goes_on(count: Callable[[], int], by: int) -> None:
    """Wait until that has grown by so much."""
    before = count()
    eventually(count, lambda now: now >= before + by)


def come_to_rest(plane: Plane, worker: ProxiedHost, churn: Churn) -> int:
    """Wait for it. How many deployments had to be asked for again, since the agent had died three times over them."""
    poisoned = set()

    def restless() -> list[str]:
        churn.follow()
        for shown in listed(plane):
            if shown["error_code"] == "POISON_COMMAND":
                poisoned.add((shown["deployment_id"], shown["generation"]))
                plane.operator.call("POST", f"/api/deployments/{shown['deployment_id']}/restart")
        return disagreements(plane, worker, churn)

    eventually(restless, lambda wrong: not wrong, "at rest")
    return len(poisoned)


def listed(plane: Plane) -> list[Any]:
    found: list[Any] = plane.operator.call("GET", "/api/deployments?limit=500")["deployments"]
    return found


def disagreements(plane: Plane, worker: ProxiedHost, churn: Churn) -> list[str]:
    """What differs between what was asked, what the control plane says, and what the kernel shows."""
    wrong = []
    shown = {each["name"]: each for each in listed(plane)}
    there = {each.slot: each for each in worker.instances()}
    if len(there) != len(worker.instances()) or supervisors_of(worker.folder) != len(there):
        wrong.append(
            f"{len(worker.instances())} models, {supervisors_of(worker.folder)} supervisors, of {sorted(there)}"
        )
    if shown.keys() != churn.wishes.keys():
        wrong.append(f"deployments are {sorted(shown)}, and were to be {sorted(churn.wishes)}")
    for slot, wish in churn.wishes.items():
        seen, model = shown.get(slot), there.pop(slot, None)
        if seen is None or (seen["desired"], seen["status"]) != (wish.desired, wish.desired):
            wrong.append(f"{slot} was to be {wish.desired}: {seen}")
        elif wish.desired == "stopped":
            wrong += [f"{slot} is stopped, and runs as {model}"] if model else []
        elif model is None or (model.instance, model.seed) != (seen["container_id"], wish.seed):
            wrong.append(f"{slot} was to run with seed {wish.seed} as {seen['container_id']}: {model}")
    wrong += [f"nobody asked for {model}" for model in there.values()]
    if orphans := plane.worker("host")["orphans"]:
        wrong.append(f"orphans: {orphans}")
    for operation_id, weights in churn.operations.items():
        status = plane.operator.call("GET", f"/api/operations/{operation_id}")["status"]
        if status not in TERMINAL:
            wrong.append(f"operation {operation_id} is {status}")
        elif not churn.weights(weights).exists():
            wrong.append(f"operation {operation_id} ran twice: {weights} came back after it had ended, and is gone")
    return wrong
