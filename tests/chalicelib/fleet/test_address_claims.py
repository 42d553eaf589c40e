"""A worker's address is a claim: what is refused, what is noted of it, and how operators pin one."""

from __future__ import annotations

import pytest

from chalicelib.fleet import address_claims, workers
from chalicelib.store.items import find
from chalicelib.store.tables import AddressClaims
from chalicelib.workers import admin
from muster.api import addresses
from muster.api import resources as r
from muster.api.errors import ApiError
from tests.fixtures.plane_world import ADMIN, PlaneWorld

FORBIDDEN = [
    "169.254.169.254",
    "http://169.254.169.254/latest/{port}",
    "0xA9FEA9FE",
    "::ffff:169.254.169.254",
    "224.0.0.1",
]


def claimants(host: str) -> set[str]:
    item = find(AddressClaims, f"address#{host}", "address")
    return set(item.workers or ()) if item else set()


@pytest.mark.parametrize("address", FORBIDDEN)
def test_a_worker_with_an_address_that_none_may_have_is_refused(world: PlaneWorld, address: str) -> None:
    with pytest.raises(ApiError, match=r"^address: ") as raised:
        world.worker(address=address)
    assert raised.value.error_code == "INVALID_REQUEST"
    worker = world.worker()
    with pytest.raises(ApiError, match=r"^address: "):
        worker.register(address=address)
    assert workers.get(worker.id).record.address is None


@pytest.mark.parametrize(
    "address", [*FORBIDDEN, "gpu-1:8000", "http://u@gpu-1/{port}", "127.0.0.1", "localhost", "2130706433"]
)
def test_an_operator_is_told_of_each_address_that_would_never_be_shown(world: PlaneWorld, address: str) -> None:
    worker = world.worker(address="10.0.0.7")
    with pytest.raises(ApiError, match=r"^address: "):
        admin.patch(worker.id, r.WorkerPatch(address=address), ADMIN, world.now)
    assert workers.get(worker.id).record.address == "10.0.0.7"


def test_each_result_of_a_name_is_checked() -> None:
    def results(host: str) -> list[str]:
        return {"good": ["10.0.0.7"], "bad": ["10.0.0.7", "169.254.169.254"], "unknown": []}[host]

    for name in ("good", "unknown"):
        address_claims.refuse(name, strictly=True, resolve=results)
    with pytest.raises(ApiError, match=r"169\.254\.169\.254"):
        address_claims.refuse("bad", resolve=results)


def test_a_pinned_address_stays_whatever_the_worker_claims(world: PlaneWorld) -> None:
    worker = world.worker(address="10.0.0.7", boot_id="1")
    assert not admin.get(worker.id, world.now).address_pinned
    admin.patch(worker.id, r.WorkerPatch(address="10.0.0.8"), ADMIN, world.now)
    worker.register(address="10.0.0.7", boot_id="2")
    seen = admin.get(worker.id, world.now)
    assert (seen.address, seen.address_pinned) == ("10.0.0.8", True)


def test_a_claim_is_as_old_as_the_address(world: PlaneWorld) -> None:
    worker = world.worker(address="10.0.0.7", boot_id="1")
    first = world.now
    world.pass_(100)
    worker.register(address="10.0.0.7", boot_id="2")
    assert address_claims.claimed_at(workers.get(worker.id).record) == first
    worker.register(address="10.0.0.8", boot_id="3")
    assert address_claims.claimed_at(workers.get(worker.id).record) == world.now
    assert (claimants("10.0.0.7"), claimants("10.0.0.8")) == (set(), {worker.id})


def test_a_worker_that_is_removed_claims_nothing_any_more(world: PlaneWorld) -> None:
    one, two = world.worker("one", address="10.0.0.7"), world.worker("two", address="10.0.0.7")
    admin.remove(one.id, False, "admin", world.now)
    assert claimants("10.0.0.7") == {two.id}


@pytest.mark.parametrize(
    ("address", "results", "keys"),
    [
        (None, [], []),
        ("10.0.0.7", [], ["address#10.0.0.7"]),
        ("GPU-1.", ["10.0.0.7"], ["address#gpu-1", "address#10.0.0.7"]),
        ("http://10.0.0.7:{port}", [], ["address#10.0.0.7"]),
        ("https://Proxy.example/{port}", [], ["address#proxy.example"]),
        ("https://Proxy.example/{port}", ["203.0.113.1"], ["address#proxy.example"]),
        ("https://gpu-{port}.example", ["203.0.113.1"], ["address#https://gpu-{port}.example"]),
    ],
)
def test_a_claim_is_found_by_its_host_and_by_what_that_resolves_to(
    address: str | None, results: list[str], keys: list[str]
) -> None:
    assert address_claims.keys(address, results) == keys


@pytest.mark.parametrize(
    ("address", "in_the_cloud", "on_one_machine"),
    [("10.0.0.7", True, True), ("127.0.0.1", False, True), ("a b", False, False), ("169.254.169.254", False, False)],
)
def test_loopback_is_shown_by_a_local_control_plane_alone(
    address: str, in_the_cloud: bool, on_one_machine: bool
) -> None:
    found = addresses.read(address)
    assert address_claims.may_be_shown(found, is_local=False) is in_the_cloud
    assert address_claims.may_be_shown(found, is_local=True) is on_one_machine
