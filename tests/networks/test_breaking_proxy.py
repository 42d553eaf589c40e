"""A proxy that cuts connections, delays what passes, and sends bytes twice, between an agent and its gateway."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from typing import ClassVar

import pytest

from tests.faults.gateway_callers import Callers
from tests.faults.proxy import Deck, calm
from tests.faults.test_gateway import ends_with_an_error, more
from tests.fixtures.certificates import authority
from tests.fixtures.connect_proxy import ConnectProxy, Passing
from tests.fixtures.network_rig import NetworkRig, set_variables
from tests.fixtures.waiting import eventually

FAULTS = ("cut", "cut in the middle", "late", "doubled")
PACK = 200
"""Each fault strikes one of so many reads."""
TIMES = 3
"""How often each fault happens, at least."""


class Breaking(Passing):
    """One way of a connection, whose bytes meet what `deck` deals."""

    deck: ClassVar[Deck] = calm()
    doubled: ClassVar[list[Breaking]] = []

    def __init__(self) -> None:
        self.is_over = False

    async def pass_on(self, data: bytes, to: asyncio.StreamWriter) -> bool:
        fault, seconds = self.deck.draw()
        if fault == "cut":
            return False
        if fault == "cut in the middle":
            await super().pass_on(data[: len(data) // 2], to)
            return False
        if fault == "late":
            await asyncio.sleep(seconds)
        if fault == "doubled":
            self.doubled.append(self)
            await super().pass_on(data, to)
        return await super().pass_on(data, to)

    def over(self) -> None:
        self.is_over = True


@pytest.fixture(scope="module")
def proxy() -> Iterator[ConnectProxy]:
    with ConnectProxy() as running:
        running.passing = Breaking
        yield running


@pytest.fixture(scope="module")
def rig(proxy: ConnectProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkRig]:
    """Two hosts, of which the first one's agent reaches the gateway through the proxy. The gateway has TLS."""
    folder = tmp_path_factory.mktemp("breaking")
    own = authority(folder)
    trusts = {"SSL_CERT_FILE": own.file}
    with NetworkRig(folder, trusts, own, hosts=2) as made:
        made.hosts[0].kill()
        set_variables(made.hosts[0], trusts | {"HTTPS_PROXY": proxy.url()})
        made.hosts[0].start()
        eventually(lambda: len(proxy.connected), lambda count: count >= 2, "tunnels through the proxy")
        yield made


@pytest.fixture
def callers(rig: NetworkRig) -> Iterator[Callers]:
    """Callers who ask until the end of the test, from when both hosts serve."""
    eventually(rig.ready, what="both hosts to serve")
    tls = ssl.create_default_context(cafile=str(rig.verify))
    with Callers(rig.gateway.port, rig.key, count=8, tls=tls) as running:
        more(running, 10)
        yield running


def check(callers: Callers) -> None:
    """Every request got an answer of its own, or the beginning of one and the news of its end."""
    assert callers.failed_before_a_byte == []
    assert [each for each in callers.broken if each.tokens > each.asked] == []
    assert [each for each in callers.broken if each.streamed and not ends_with_an_error(each)] == []


def test_no_request_fails_before_its_first_byte_while_connections_break(
    rig: NetworkRig, proxy: ConnectProxy, callers: Callers
) -> None:
    deck = Breaking.deck = Deck(1, FAULTS, PACK)
    try:
        eventually(deck.rarest, lambda times: times >= TIMES, f"each fault to happen {TIMES} times")
    finally:
        deck.bad = False
    eventually(lambda: [each for each in Breaking.doubled if not each.is_over] == [], what="the end of all doubled")
    eventually(rig.ready, what="the tunnels to come back")
    more(callers, 20)
    check(callers)


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_leaves_tunnels_that_serve(
    rig: NetworkRig, proxy: ConnectProxy, callers: Callers, fault: str
) -> None:
    """Doubled bytes end their connection: TLS finds them. Each fault but a delay does."""
    deck, connected = Deck(2, (fault,), pack=1), len(proxy.connected)
    Breaking.deck = deck
    eventually(lambda: deck.happened[fault], what=fault)
    deck.bad = False
    if fault != "late":
        eventually(lambda: len(proxy.connected) > connected, what="the tunnel to be dialed again")
    assert Breaking.doubled or fault != "doubled"
    eventually(lambda: all(each.is_over for each in Breaking.doubled), what="the end of all doubled")
    eventually(rig.ready, what="the tunnels to come back")
    more(callers, 20)
    check(callers)
