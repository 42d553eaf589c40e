"""Where models listen: an address that is away for a while ends nothing, and one that changed moves what runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from muster.api.conditions import ConditionType
from muster_agent.conditions import Conditions
from muster_agent.engines.base import EngineError
from muster_agent.runner.listening import Listening
from muster_agent.runner.probes import HUNG_AFTER_SECONDS
from tests.fixtures.agent_world import AgentWorld, Clock

VPN, OTHER = "10.99.7.7", "10.99.7.8"
OURS = {"127.0.0.1", "::1", VPN}


def listening(address: str | None, *results: str, ours: set[str] = OURS) -> Listening:
    return Listening(address, Conditions(Clock()), ours=lambda: ours, resolve=lambda name: list(results))


@pytest.mark.parametrize(
    ("address", "results", "bind"),
    [
        (None, (), "127.0.0.1"),
        ("https://pod-{port}.proxy.example", (), "127.0.0.1"),
        (VPN, (), VPN),
        ("[::1]", (), "::1"),
        ("127.0.1.1", (), "127.0.1.1"),
        ("gpu-1", ("192.0.2.1", VPN), VPN),
        ("gpu-1", ("127.0.1.1", VPN), VPN),
        ("gpu-1", ("127.0.1.1",), "127.0.1.1"),
    ],
)
def test_models_listen_at_an_address_of_this_host_or_at_loopback(
    address: str | None, results: tuple[str, ...], bind: str
) -> None:
    assert listening(address, *results).bind() == bind


@pytest.mark.parametrize(
    ("address", "results"),
    [(OTHER, ()), ("gpu-1", (OTHER,)), ("gpu-1", ("fe80::1%eth0",)), ("gpu-1", ("169.254.1.1",)), ("gpu-1", ())],
)
def test_an_address_that_is_missing_is_named_with_those_that_are_there(address: str, results: tuple[str, ...]) -> None:
    ours = OURS | {"fe80::1", "169.254.1.1"}
    with pytest.raises(EngineError) as raised:
        listening(address, *results, ours=ours).bind()
    assert raised.value.error_code == "ADDRESS_MISSING"
    for each in (address, VPN, "--address"):
        assert each in raised.value.message


def test_a_name_that_means_several_addresses_of_this_host_keeps_the_one_it_had() -> None:
    results = [VPN, OTHER]
    found = Listening("gpu-1", Conditions(Clock()), ours=lambda: {VPN, OTHER}, resolve=lambda name: list(results))
    assert found.bind() == VPN
    results.reverse()
    found.refresh()
    assert found.bind() == VPN
    assert found.fits(OTHER)


def test_while_a_name_does_not_resolve_nobody_can_tell_whether_a_model_fits() -> None:
    def fails(name: str) -> list[str]:
        raise OSError(-3, "Temporary failure in name resolution")

    found = Listening("gpu-1", Conditions(Clock()), ours=lambda: OURS, resolve=fails)
    assert found.fits(VPN) is None
    assert found.reach(VPN, "gpu-1") == "gpu-1"
    with pytest.raises(EngineError, match="Temporary failure in name resolution"):
        found.bind()


# A whole agent


def conditions(world: AgentWorld) -> list[str]:
    return [each.type for each in world.conditions.current()]


def test_a_model_outlives_a_minute_without_its_address(world: AgentWorld, boot: Callable[..., AgentWorld]) -> None:
    boot(VPN, VPN).deploy()
    world.settle()
    before = world.engine.only()
    assert (before.bind, world.last_report().address) == (VPN, VPN)
    world.addresses = {"127.0.0.1"}
    world.settle(30, seconds=HUNG_AFTER_SECONDS)
    assert world.engine.only() == before
    assert conditions(world) == [ConditionType.ADDRESS_MISSING]
    assert (world.last_report().status, world.last_report().address) == ("running", "")
    world.addresses.add(VPN)
    world.settle(40)
    assert world.engine.only() == before
    assert (world.last_report().status, world.last_report().address) == ("running", VPN)
    assert (conditions(world), world.last_report().restarts) == ([], 0)


def test_a_model_that_hangs_is_restarted_all_the_same(world: AgentWorld, boot: Callable[..., AgentWorld]) -> None:
    boot(VPN, VPN).deploy()
    world.settle()
    before = world.engine.only()
    world.probe.hung = True
    world.settle(10, seconds=10)
    assert before not in [each for each in world.engine.all.values() if each.state == "running"]


def test_a_name_that_leads_elsewhere_moves_models_and_one_that_fails_does_not(
    world: AgentWorld, boot: Callable[..., AgentWorld]
) -> None:
    world.names = {"gpu-1.lan": [VPN]}
    boot("gpu-1.lan", VPN).deploy()
    world.settle()
    before = world.engine.only()
    world.names = {}
    world.settle(20, seconds=60)
    assert world.engine.only() == before
    world.addresses, world.names = {"127.0.0.1", OTHER}, {"gpu-1.lan": [OTHER]}
    world.settle(20)
    assert (world.engine.only().bind, world.last_report().address) == (OTHER, "gpu-1.lan")
