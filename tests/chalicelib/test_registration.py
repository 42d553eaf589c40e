"""Who a name belongs to: what a black box cannot see quickly, or not at all without a clock."""

from __future__ import annotations

import msgspec
import pytest

from chalicelib import registration, tokens
from chalicelib.contract import messages as m
from chalicelib.contract import resources as r
from chalicelib.contract.endpoints import Access
from chalicelib.contract.errors import ApiError
from tests.fixtures.plane_world import ADMIN, JOIN, PlaneWorld


def code(caught: pytest.ExceptionInfo[ApiError]) -> str:
    return caught.value.error_code


def test_a_second_machine_with_the_same_registration_token_is_another_machine(world: PlaneWorld) -> None:
    """Even before the first has used what it was issued: a registration token is nobody's own."""
    world.worker("gpu", machine_id="one")
    with pytest.raises(ApiError) as caught:
        world.worker("gpu", machine_id="two")
    assert code(caught) == "WORKER_NAME_IN_USE"


def test_a_forged_hostname_does_not_replace_a_machine_id(world: PlaneWorld) -> None:
    world.worker("gpu", machine_id="one")
    with pytest.raises(ApiError) as caught:
        world.worker("gpu", system_info={"hostname": "gpu"})
    assert code(caught) == "WORKER_NAME_IN_USE"


def test_a_reboot_months_later_works_with_an_expired_and_used_up_token(world: PlaneWorld) -> None:
    token = tokens.create_token(r.NewRegistrationToken(expires_in=60), ADMIN, world.now).token
    assert isinstance(token, str)
    worker = world.worker("gpu", token=token, machine_id="one", boot_id="a")
    worker.beat()
    before = worker.answer
    world.pass_(90 * 86400)
    worker.register(boot_id="b")
    assert worker.answer.worker_id == before.worker_id
    assert worker.answer.session > before.session


def test_the_older_token_ends_after_ten_minutes_without_the_new_one_being_used(world: PlaneWorld) -> None:
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    worker.beat()
    older, worker.token = worker.token, ""  # with the registration token alone
    worker.register()
    worker.token = older
    world.pass_(599)
    worker.beat()
    world.pass_(2)
    with pytest.raises(ApiError) as caught:
        worker.beat()
    assert code(caught) == "UNAUTHENTICATED", "the same boot may register again; it was not superseded"


def test_a_boot_whose_answers_were_all_lost_still_gets_in(world: PlaneWorld) -> None:
    """It knows only the token of the boot before, and its registration token is revoked by now."""
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    worker.beat()
    known = worker.token
    body = {"name": "gpu", "token": known, "gpu_info": {"count": 0}, "system_info": {"hostname": "gpu"}}
    again = msgspec.convert({**body, "machine_id": "one", "boot_id": "b"}, m.Registration)
    answers = [registration.register(again, known, world.now + i) for i in range(4)]
    assert len({each.session for each in answers}) == 1
    assert {each.worker_id for each in answers} == {worker.id}


@pytest.mark.parametrize("joined_before", [True, False])
def test_a_killed_process_whose_registration_arrives_late_supersedes_nobody(
    world: PlaneWorld, joined_before: bool
) -> None:
    """It was on its way when its process was killed, and the next process, which knows of it, registered first."""
    if joined_before:
        world.worker("gpu", machine_id="one", boot_id="a").beat()
    worker = world.worker("gpu", machine_id="one", boot_id="c", past_boot_ids=["b", "a"])
    worker.journal_id = "j"
    worker.beat()
    with pytest.raises(ApiError) as caught:
        world.worker("gpu", machine_id="one", boot_id="b", past_boot_ids=["a"])
    assert code(caught) == "SESSION_SUPERSEDED"
    worker.beat()
    worker.register(boot_id="d", past_boot_ids=["c", "b", "a"])
    worker.beat()


def test_a_restored_database_cannot_fall_behind(world: PlaneWorld) -> None:
    """A session above the stored one is adopted; what is given next is above both."""
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    worker.journal_id = "j"
    ahead = worker.answer.session + 250_000
    worker.beat(session=ahead)
    with pytest.raises(ApiError) as caught:
        worker.beat(session=ahead - 1)
    assert code(caught) == "SESSION_SUPERSEDED"
    worker.register(boot_id="b")
    assert worker.answer.session > ahead


def test_a_takeover_sends_nothing_to_the_new_machine_until_somebody_starts_it(world: PlaneWorld) -> None:
    old = world.worker("gpu", machine_id="one")
    deployment_id = world.deploy()
    old.run(deployment_id)
    world.pass_(100)
    token = tokens.create_token(r.NewRegistrationToken(takeover=True), ADMIN, world.now).token
    assert isinstance(token, str)
    new = world.worker("gpu", token=token, machine_id="two")
    assert new.id == old.id
    assert [new.types() for _ in range(12)] == [[]] * 12
    assert (world.see(deployment_id).status, world.see(deployment_id).error_code) == ("error", "WORKER_LOST")
    with pytest.raises(ApiError) as caught:
        old.beat()
    assert code(caught) == "SESSION_SUPERSEDED"
    world.start(deployment_id)
    assert new.types() == ["deploy"]


def test_takeover_tokens_are_for_admins(world: PlaneWorld) -> None:
    operator = tokens.Principal("key operator", Access.OPERATOR)
    with pytest.raises(ApiError) as caught:
        tokens.create_token(r.NewRegistrationToken(takeover=True), operator, world.now)
    assert code(caught) == "FORBIDDEN"


def test_a_registration_token_used_by_many_opens_no_worker_that_used_its_own(world: PlaneWorld) -> None:
    worker = world.worker("gpu")
    worker.beat()
    worker.token = JOIN
    with pytest.raises(ApiError) as caught:
        worker.beat()
    assert code(caught) == "UNAUTHENTICATED"
