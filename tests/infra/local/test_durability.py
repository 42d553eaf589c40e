"""What threads hand to the event loop arrives, and wakes the loop no more often than it has to."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from infra.local.durability import AtOnce, Deliveries
from tests.fixtures import event_loop


def test_where_calls_return_once_they_are_durable_nothing_is_waited_for() -> None:
    durability, called = AtOnce(), list[BaseException | None]()
    with durability.deferred() as seen:
        pass
    assert not seen.sequence
    durability.when_durable(seen.sequence, called.append)
    assert called == [None]


def test_results_of_many_threads_arrive_and_errors_are_raised() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        deliveries = Deliveries(loop)
        futures: list[asyncio.Future[Any]] = [loop.create_future() for _ in range(200)]
        threads = [
            threading.Thread(target=deliveries.deliver, args=(future, number)) for number, future in enumerate(futures)
        ]
        for thread in threads:
            thread.start()
        assert await asyncio.gather(*futures) == list(range(200))
        failed = loop.create_future()
        deliveries.deliver(failed, None, OSError("no space left"))
        with pytest.raises(OSError, match="no space left"):
            await failed

    event_loop.run(main())


def deliver_all(deliveries: Deliveries, futures: list[asyncio.Future[Any]]) -> None:
    for future in futures:
        deliveries.deliver(future, None)


def test_a_group_of_results_wakes_the_loop_once() -> None:
    async def main() -> None:
        woken = list[object]()
        loop = asyncio.get_running_loop()

        class Counting:
            def call_soon_threadsafe(self, callback: Any) -> None:
                woken.append(callback)
                loop.call_soon_threadsafe(callback)

        deliveries = Deliveries(Counting())  # type: ignore[arg-type]
        for _ in range(2):
            futures = [loop.create_future() for _ in range(10)]
            thread = threading.Thread(target=deliver_all, args=(deliveries, futures))
            thread.start()
            thread.join()  # on the event loop, which cannot wake meanwhile
            await asyncio.gather(*futures)
        assert len(woken) == 2

    event_loop.run(main())


def test_nobody_needs_to_wait_for_a_result() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        deliveries = Deliveries(loop)
        left, waited_for = loop.create_future(), loop.create_future()
        left.cancel()
        deliveries.deliver(left, 1)
        deliveries.deliver(waited_for, 2)
        assert await waited_for == 2

    event_loop.run(main())
