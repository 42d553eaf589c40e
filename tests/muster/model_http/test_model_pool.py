"""Kept connections: fresh ones are used again, others are not."""

from __future__ import annotations

import asyncio

import pytest

from muster.model_http.model_pool import IDLE_SECONDS, MOST_IDLE, ModelPool
from tests.fixtures.event_loop import run
from tests.fixtures.ports import free_port


def test_a_connection_is_kept_while_it_is_fresh() -> None:
    async def go() -> None:
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        address = "127.0.0.1", server.sockets[0].getsockname()[1], None, None
        pool = ModelPool()
        first, second = await pool.opened(address), await pool.opened(address)
        assert pool.kept(address, 0.0) is None
        pool.keep(address, first, 0.0)
        assert pool.kept(address, IDLE_SECONDS - 0.1) is first and pool.kept(address, 0.0) is None
        pool.keep(address, first, 0.0)
        pool.keep(address, second, IDLE_SECONDS)
        assert pool.kept(address, IDLE_SECONDS + 1) is second
        assert pool.kept(address, IDLE_SECONDS + 1) is None and not first.is_reusable
        for _ in range(MOST_IDLE + 3):
            pool.keep(address, await pool.opened(address), 0.0)
        assert len(pool._idle[address]) == MOST_IDLE
        pool.forget(set())
        assert pool.kept(address, 0.0) is None
        server.close()

    run(go())


def test_who_does_not_listen_is_an_error() -> None:
    with pytest.raises(OSError):
        run(ModelPool().opened(("127.0.0.1", free_port(), None, None)))
