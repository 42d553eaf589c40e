"""The figure of an idle agent: its proxy counts what passes."""

from __future__ import annotations

from pathlib import Path

from bench.bare_http import ANSWER
from bench.figures.idle_agent import Agent, CountingProxy, Exchange, figure
from bench.peers import Bench
from bench.servers import BareHttp, Caller, request
from tests.bench.figures.test_heartbeats import TINY, made
from tests.fixtures.waiting import eventually


def test_the_bytes_of_each_request_and_answer_are_counted(tmp_path: Path) -> None:
    server: BareHttp = made(tmp_path)
    with server:
        proxy = CountingProxy(server.port)
        caller = Caller(proxy.port, "token")
        for _ in range(2):
            caller.call("POST", "/x", {"a": "b" * 1000})
        eventually(lambda: len(proxy.exchanges) == 2, what="both exchanges to be counted")
        first, second = proxy.exchanges
        assert first == second and first.answer == len(ANSWER)
        assert 1000 < first.request < 1300
        caller.close()
        proxy.close()


def test_a_request_without_a_body_ends_with_its_head(tmp_path: Path) -> None:
    with made(tmp_path) as server:
        proxy = CountingProxy(server.port)
        caller = Caller(proxy.port)
        caller.call("GET", "/")
        eventually(lambda: proxy.exchanges, what="the exchange to be counted")
        assert isinstance(proxy.exchanges[0], Exchange) and 0 < proxy.exchanges[0].request < 300
        assert request("GET", "/").endswith("\r\n\r\n")
        caller.close()
        proxy.close()


def test_an_agent_is_started_through_the_proxy(tmp_path: Path) -> None:
    (agent,) = figure(Bench(tmp_path, TINY)).subjects
    assert isinstance(agent, Agent)
    command = agent._command(4711)
    assert command[1:3] == ["-m", "muster_agent"] and "http://127.0.0.1:4711" in command
