"""Where models listen: an address that is away for a while ends nothing, and one that changed moves what runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.conditions import Conditions
from agent.engines import EngineError
from agent.health import DEAD_AFTER
from agent.life import REBIND_AFTER
from agent.listening import Listening
from chalicelib.contract.conditions import ConditionType
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
    found.look()
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


@pytest.fixture
def boot(world: AgentWorld) -> Callable[..., AgentWorld]:
    def again(address: str | None, *addresses: str) -> AgentWorld:
        world.address, world.addresses = address, {"127.0.0.1", *addresses}
        world.restart()
        world.beat()
        return world

    return again


def conditions(world: AgentWorld) -> list[str]:
    return [each.type for each in world.conditions.current()]


def test_a_model_outlives_a_minute_without_its_address(world: AgentWorld, boot: Callable[..., AgentWorld]) -> None:
    boot(VPN, VPN).deploy()
    world.settle()
    before = world.engine.only()
    assert (before.bind, world.last_report().address) == (VPN, VPN)
    world.addresses = {"127.0.0.1"}
    world.settle(30, seconds=DEAD_AFTER)
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


@pytest.mark.parametrize("restart", ["on-failure", "never"])
def test_a_model_waits_for_an_address_that_is_missing_at_the_start_of_the_agent(
    world: AgentWorld, boot: Callable[..., AgentWorld], restart: str
) -> None:
    boot(VPN).deploy(restart=restart)
    world.settle(20, seconds=60)
    assert world.statuses() == ["starting"]
    assert VPN in (world.last_report().message or "")
    assert conditions(world) == [ConditionType.ADDRESS_MISSING]
    world.addresses.add(VPN)
    world.settle(10)
    assert world.statuses()[-1] == "running"
    assert (world.engine.only().bind, world.last_report().restarts) == (VPN, 0)


def test_an_address_that_goes_while_a_model_comes_up_does_not_stall_it(
    world: AgentWorld, boot: Callable[..., AgentWorld]
) -> None:
    world.probe.ready = set()
    boot(VPN, VPN).deploy()
    world.settle()
    before = world.engine.only()
    world.addresses = {"127.0.0.1"}
    world.settle(10, seconds=600)
    world.addresses.add(VPN)
    world.probe.ready = {"org/model"}
    world.settle()
    assert world.engine.only() == before
    assert world.last_report().status == "running"


@pytest.mark.parametrize("restart", ["on-failure", "never"])
def test_a_start_that_loses_the_address_is_no_failure(
    world: AgentWorld, boot: Callable[..., AgentWorld], restart: str
) -> None:
    def lost(spec: object) -> None:
        if VPN not in world.addresses:
            raise EngineError("ADDRESS_MISSING", f"listen tcp4 {VPN}:20000: bind: cannot assign requested address")

    world.engine.on_start = lost
    boot(VPN, VPN).deploy(restart=restart)
    world.host.listening.look()
    world.addresses = {"127.0.0.1"}
    world.actor().step(world.clock.now)
    world.settle(3)
    assert world.statuses()[-1] == "starting"
    world.addresses.add(VPN)
    world.settle(10)
    assert (world.statuses()[-1], world.last_report().restarts) == ("running", 0)


def test_after_a_change_of_address_what_runs_is_moved_with_a_word(
    world: AgentWorld, boot: Callable[..., AgentWorld]
) -> None:
    boot(VPN, VPN, OTHER).deploy()
    world.settle()
    boot(OTHER, VPN, OTHER)
    world.settle(1)
    assert world.last_report().address == "", "it is not reachable where the worker is now"
    world.settle(4, seconds=REBIND_AFTER)
    announced = next(r for _, r in world.server.reports if r.status == "starting" and VPN in (r.message or ""))
    assert OTHER in (announced.message or "")
    assert (world.engine.only().bind, world.last_report().address) == (OTHER, OTHER)
    assert (world.last_report().status, world.last_report().restarts) == ("running", 0)


def test_by_the_owners_wish_what_runs_is_left_where_it_listens(
    world: AgentWorld, boot: Callable[..., AgentWorld]
) -> None:
    boot(VPN, VPN, OTHER).deploy()
    world.settle()
    before, world.rebind = world.engine.only(), "leave"
    boot(OTHER, VPN, OTHER)
    world.settle(20, seconds=60)
    assert world.engine.only() == before
    assert (world.last_report().status, world.last_report().address) == ("running", "")
    assert VPN in (world.last_report().message or "")


def test_nothing_is_moved_to_an_address_that_is_missing(world: AgentWorld, boot: Callable[..., AgentWorld]) -> None:
    boot(VPN, VPN).deploy()
    world.settle()
    before = world.engine.only()
    boot(OTHER, VPN)
    world.settle(20, seconds=60)
    assert world.engine.only() == before
    assert world.last_report().address == ""


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
