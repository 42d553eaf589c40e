"""Who a name belongs to: what a black box cannot see quickly, or not at all without a clock."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import pytest

from chalicelib.auth import provisional, tokens
from chalicelib.store.items import TransactionConflict, find
from chalicelib.store.tables import Conditions, Provisional, WorkerHeartbeat, WorkerRecord
from chalicelib.workers import admin, admission, registration
from muster.api import messages as m
from muster.api import resources as r
from muster.api.endpoints import Access
from muster.api.errors import ApiError
from tests.fixtures.plane_world import ADMIN, JOIN, PlaneWorld, Worker, lines


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


# Joining


def token(world: PlaneWorld, **wanted: Any) -> str:
    """A registration token."""
    made = tokens.create_token(msgspec.convert(wanted, r.NewRegistrationToken), ADMIN, world.now).token
    assert isinstance(made, str)
    return made


def heartbeat_of(worker: Worker) -> WorkerHeartbeat:
    found = find(WorkerHeartbeat, worker.id)
    assert found is not None
    return found


def cold_of(worker: Worker) -> WorkerRecord:
    found = find(WorkerRecord, worker.id, "cold")
    assert found is not None
    return found


def refusal(act: Callable[[], object]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        act()
    return caught.value


def test_what_a_host_says_when_it_joins_is_the_worker(world: PlaneWorld) -> None:
    secret = token(world, ephemeral=True, name="for rack 1")
    said: dict[str, Any] = {"machine_id": "one", "boot_id": "b"}
    said |= {"past_boot_ids": ["a"], "agent_version": "1.2", "address": "gpu.lan"}
    worker = world.worker("gpu", 2, token=secret, labels={"rack": "1"}, **said)
    shown, heartbeat, record = admin.get(worker.id, world.now), heartbeat_of(worker), cold_of(worker)
    assert (shown.name, shown.status, shown.labels, shown.address) == ("gpu", "online", {"rack": "1"}, "gpu.lan")
    assert (shown.agent_version, shown.gpu_info.count, shown.system_info.hostname) == ("1.2", 2, "gpu")
    assert (shown.session, shown.registered_at.timestamp()) == (worker.answer.session, world.now)
    assert (record.machine_id, record.hostname, record.ephemeral, heartbeat.ephemeral) == ("one", "gpu", True, True)
    assert (heartbeat.status, admission.retired_boots(record)) == ("online", [admission.short("a")])
    assert worker.answer.next_heartbeat_in == 30
    (line,) = lines(world, worker.id)
    assert (line.type, line.message, line.by) == ("joined", "with token for rack 1", "worker gpu")
    (shared,) = [each for each in tokens.list_tokens(r.PageQuery()).registration_tokens if each.name == "for rack 1"]
    assert (line.token_id, shared.uses) == (shared.token_id, 1)


def test_a_worker_of_an_ordinary_token_is_not_ephemeral(world: PlaneWorld) -> None:
    worker = world.worker()
    assert not heartbeat_of(worker).ephemeral and not cold_of(worker).ephemeral


def test_what_waits_is_placed_on_a_worker_when_it_joins_and_when_it_comes_back(world: PlaneWorld) -> None:
    first = world.deploy()
    worker = world.worker(gpus=1, machine_id="one", boot_id="a")
    assert world.see(first).worker_id == worker.id
    second = world.deploy(gpus=1)
    worker.gpus = 2
    worker.register(boot_id="b")
    assert world.see(second).worker_id == worker.id


def test_an_address_that_no_worker_may_have_is_refused(world: PlaneWorld) -> None:
    assert refusal(lambda: world.worker(address="169.254.169.254")).error_code == "INVALID_REQUEST"
    assert admin.list_(r.PageQuery(), world.now).workers == []


def test_what_an_address_resolves_to_is_noted(world: PlaneWorld) -> None:
    world.names["gpu.lan"] = ["10.0.0.7"]
    assert cold_of(world.worker(address="gpu.lan")).resolved == '["10.0.0.7"]'


@pytest.mark.parametrize("why", ["unknown", "expired", "revoked", "used up"])
def test_a_token_that_lets_nobody_in_is_refused(world: PlaneWorld, why: str) -> None:
    secret = "mst_reg_unknown" if why == "unknown" else token(world, expires_in=60)
    if why == "expired":
        world.pass_(60)
    elif why == "revoked":
        tokens.revoke_token(tokens.credential_id(secret), ADMIN, world.now, segments=1)
    elif why == "used up":
        world.worker("first", token=secret)
    assert refusal(lambda: world.worker("second", token=secret)).error_code == "UNAUTHENTICATED"


@pytest.mark.parametrize("calls", range(2, 6))
@pytest.mark.parametrize("revoked", [True, False])
def test_a_token_that_ends_while_a_host_joins_lets_it_in_or_not_and_is_used_once(
    world: PlaneWorld, calls: int, revoked: bool
) -> None:
    secret = token(world)

    def overtake() -> None:
        if revoked:
            tokens.revoke_token(tokens.credential_id(secret), ADMIN, world.now, segments=1)
        else:
            world.worker("other", token=secret)

    with world.database.overtaken_after(calls, overtake), suppress(ApiError):
        world.worker("gpu", token=secret)
    joined = {each.name for each in admin.list_(r.PageQuery(), world.now).workers}
    assert len(joined) == (1 if not revoked else len(joined & {"gpu"}))


def test_of_two_hosts_that_join_under_one_name_one_has_it(world: PlaneWorld) -> None:
    with world.database.overtaken_after(2, lambda: world.worker("gpu", machine_id="one")):
        refused = refusal(lambda: world.worker("gpu", machine_id="two"))
    assert (refused.error_code, len(admin.list_(r.PageQuery(), world.now).workers)) == ("WORKER_NAME_IN_USE", 1)


def test_a_removed_worker_is_told_so_while_it_shows_its_old_token(world: PlaneWorld) -> None:
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    worker.beat()
    admin.remove(worker.id, True, "an admin", world.now)
    assert refusal(lambda: worker.register(boot_id="b")).error_code == "WORKER_REMOVED"
    worker.token = ""
    before = worker.id
    worker.register(boot_id="b")
    assert worker.id != before, "with a registration token alone it joins again"


def test_a_worker_token_that_was_never_the_removed_ones_is_no_reason_to_refuse(world: PlaneWorld) -> None:
    worker = world.worker("gpu", boot_id="a")
    worker.beat()
    admin.remove(worker.id, True, "an admin", world.now)
    worker.token = f"mst_wrk_{worker.id}_guessed"
    worker.register(boot_id="b")


# Coming back


def test_a_boot_that_asks_again_keeps_its_session_and_its_heartbeats(world: PlaneWorld) -> None:
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    worker.beat()
    session, told = worker.answer.session, lines(world, worker.id)
    world.pass_(5)
    worker.register()
    assert (worker.answer.session, lines(world, worker.id)) == (session, told)
    assert (heartbeat_of(worker).beats, bytes(heartbeat_of(worker).retired or b"")) == (1, b"")
    worker.register(boot_id="b")
    assert worker.answer.session > session
    assert heartbeat_of(worker).beats == 0
    assert [line.type for line in lines(world, worker.id)][-1] == "returned"


def test_a_worker_that_comes_back_is_online_and_looked_at(world: PlaneWorld) -> None:
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    worker.beat()
    worker.beat(status="offline")
    world.pass_(86400)
    world.sweep()
    heartbeat_of(worker).update(actions=[WorkerHeartbeat.lost.set(True), WorkerHeartbeat.interval.set(5)])
    worker.register(boot_id="b")
    heartbeat = heartbeat_of(worker)
    assert (heartbeat.status, heartbeat.last_seen, heartbeat.interval) == ("online", world.now, 30)
    assert heartbeat.needs_reconcile and not heartbeat.lost


def test_the_next_heartbeat_of_a_worker_with_work_to_do_is_soon(world: PlaneWorld) -> None:
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    world.deploy()
    worker.register(boot_id="b")
    assert worker.answer.next_heartbeat_in == 1


def test_what_a_worker_says_of_itself_replaces_what_it_said_before(world: PlaneWorld) -> None:
    before: dict[str, Any] = {"labels": {"a": "1"}, "address": "one.lan", "agent_version": "1"}
    worker = world.worker("gpu", 1, machine_id="one", boot_id="a", **before)
    worker.gpus = 2
    after = {"labels": {"b": "2"}, "address": "two.lan", "agent_version": "2"}
    worker.register(boot_id="b", **after, system_info={"hostname": "renamed"})
    shown = admin.get(worker.id, world.now)
    assert (shown.labels, shown.address, shown.agent_version) == tuple(after.values())
    assert (shown.gpu_info.count, shown.system_info.hostname, cold_of(worker).hostname) == (2, "renamed", "renamed")
    assert "GPU 1 is there" in [line.message for line in lines(world, worker.id)]
    worker.host = {"machine_id": "one"}
    worker.register(boot_id="c")
    shown = admin.get(worker.id, world.now)
    assert (shown.labels, shown.address, shown.agent_version) == ({}, None, None)


def test_what_an_operator_set_stays_when_a_worker_comes_back(world: PlaneWorld) -> None:
    worker = world.worker("gpu", machine_id="one", boot_id="a", labels={"a": "1"}, address="one.lan")
    admin.patch(worker.id, r.WorkerPatch(labels={"set": "x"}), ADMIN, world.now)
    worker.register(boot_id="b", labels={"b": "2"}, address="two.lan")
    shown = admin.get(worker.id, world.now)
    assert (shown.labels, shown.address) == ({"set": "x"}, "two.lan")
    admin.patch(worker.id, r.WorkerPatch(address="set.lan"), ADMIN, world.now, world.resolve)
    worker.register(boot_id="c", address="three.lan")
    assert admin.get(worker.id, world.now).address == "set.lan"


def test_a_machine_id_is_kept_as_the_machine_says_it(world: PlaneWorld) -> None:
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    worker.host = {}
    worker.register(boot_id="b", past_boot_ids=["a"])
    assert cold_of(worker).machine_id is None


@pytest.mark.parametrize(
    ("past", "latest", "before", "retired"),
    [
        (["b", "c"], "a", [], ["a", "b", "c"]),
        (["a", "b"], "a", ["b", "c"], ["a", "b", "c"]),
        (None, None, ["x"], ["x"]),
        ([str(n) for n in range(20)], "a", ["z"], ["a", *(str(n) for n in range(15))]),
        (None, None, [], []),
    ],
)
def test_the_last_sixteen_boots_that_ended_may_not_register(
    past: list[str] | None, latest: str | None, before: list[str], retired: list[str]
) -> None:
    said = {"name": "gpu", "token": "t", "gpu_info": {"count": 0}, "system_info": {"hostname": "gpu"}}
    body = msgspec.convert(said, m.Registration)
    body.past_boot_ids = past
    stored = [short for each in before if (short := admission.short(each))]
    packed = registration._retired_boots(body, admission.short(latest), stored)
    assert packed == b"".join(admission.short(each) or b"" for each in retired)


def test_a_boot_that_ended_is_superseded_and_its_successors_remember_it(world: PlaneWorld) -> None:
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    for boot in ("b", "c"):
        worker.register(boot_id=boot)
    for boot in ("a", "b"):
        assert refusal(partial(worker.register, boot_id=boot)).error_code == "SESSION_SUPERSEDED"
    worker.register(boot_id="c")


def test_the_token_that_a_worker_last_used_opens_until_the_new_one_is_used(world: PlaneWorld) -> None:
    """Each answer may have been lost, so what it surely knows is the last that it used."""
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    worker.beat()
    used = worker.token
    for _ in range(3):
        worker.register()
        newest, worker.token = worker.token, used
        worker.beat()
    worker.token = newest
    worker.beat()
    worker.token = used
    assert refusal(worker.beat).error_code == "SESSION_SUPERSEDED"
    worker.token = newest
    worker.register()
    worker.register()
    newest, worker.token = worker.token, newest
    worker.beat()
    world.pass_(599)
    worker.beat()
    world.pass_(1)
    assert refusal(worker.beat).error_code == "UNAUTHENTICATED"
    worker.token = newest
    worker.beat()


def test_a_token_whose_ten_minutes_are_over_is_not_given_them_again(world: PlaneWorld) -> None:
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    worker.beat()
    used = worker.token
    for _ in range(2):
        worker.token = ""  # with the registration token alone
        worker.register()
        world.pass_(600)
    worker.register()
    worker.token = used
    assert refusal(worker.beat).error_code == "UNAUTHENTICATED"


@pytest.mark.parametrize("calls", range(2, 5))
def test_of_two_answers_to_one_boot_that_was_asked_for_twice_at_once_each_opens(world: PlaneWorld, calls: int) -> None:
    """A client that heard nothing asks again; either answer may be the one that arrives."""
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    worker.beat()
    answers: list[str] = []

    def overtake() -> None:
        answers.append(world.worker("gpu", machine_id="one", boot_id="a").token)

    with world.database.overtaken_after(calls, overtake):
        worker.register()
    for token in (*answers, worker.token):
        worker.token = token
        worker.beat()
    assert len(answers) == 1


def test_what_a_worker_registered_with_opens_until_its_token_is_used(world: PlaneWorld) -> None:
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    issued, worker.token = worker.token, JOIN
    worker.beat()
    worker.token = ""
    worker.register()
    issued, worker.token = worker.token, JOIN
    worker.beat()
    worker.token = issued
    worker.beat()
    worker.token = JOIN
    assert refusal(worker.beat).error_code == "UNAUTHENTICATED"


def test_its_own_token_does_not_let_the_registration_token_open_it_again(world: PlaneWorld) -> None:
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    worker.beat()
    worker.register(boot_id="b")
    worker.token = JOIN
    assert refusal(worker.beat).error_code == "UNAUTHENTICATED"


@pytest.mark.parametrize("calls", range(2, 5))
def test_a_heartbeat_while_its_name_is_asked_for_in_its_silence_keeps_the_worker(world: PlaneWorld, calls: int) -> None:
    """Rule iii rests on silence; a heartbeat that comes before the write ends it."""
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    worker.beat()
    world.pass_(200)
    with world.database.overtaken_after(calls, worker.beat), suppress(ApiError):
        world.worker("gpu", machine_id="one", boot_id="z")
        assert world.database.overtake is None
    assert heartbeat_of(worker).boot == admission.short("a")
    worker.beat()


@pytest.mark.parametrize("calls", range(2, 7))
def test_a_token_that_is_revoked_while_its_worker_comes_back_opens_nothing_afterwards(
    world: PlaneWorld, calls: int
) -> None:
    secret = token(world, max_uses=5)
    worker = world.worker("gpu", token=secret, machine_id="one", boot_id="a")
    worker.beat()
    worker.token = ""

    def revoke() -> None:
        tokens.revoke_token(tokens.credential_id(secret), ADMIN, world.now, segments=1)

    with world.database.overtaken_after(calls, revoke), suppress(ApiError):
        worker.register()
        assert world.database.overtake is None
    worker.token = secret
    assert refusal(worker.beat).error_code == "UNAUTHENTICATED"


# A name that another has


def test_who_asks_for_the_name_of_an_online_worker_is_told_when_to_ask_again(world: PlaneWorld) -> None:
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    worker.beat()
    world.pass_(10.5)
    refused = refusal(lambda: world.worker("gpu", machine_id="two", boot_id="x", system_info={"hostname": "other"}))
    assert (refused.error_code, refused.retry_after) == ("WORKER_NAME_IN_USE", 80)
    line = lines(world, worker.id)[-1]
    assert (line.type, "other" in line.message, "refused" in line.message) == ("join_refused", True, True)
    world.pass_(79.5)
    assert refusal(lambda: world.worker("gpu", machine_id="two", boot_id="x")).retry_after == 1
    world.pass_(1)
    assert refusal(lambda: world.worker("gpu", machine_id="two", boot_id="x")).retry_after is None


def test_an_unusable_token_learns_nothing_of_an_online_worker(world: PlaneWorld) -> None:
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    told = lines(world, worker.id)
    refused = refusal(lambda: world.worker("gpu", token="mst_reg_guessed", machine_id="two", boot_id="x"))
    assert (refused.error_code, lines(world, worker.id)) == ("UNAUTHENTICATED", told)


def test_the_token_that_a_worker_joined_with_is_told_of_it_although_it_is_used_up(world: PlaneWorld) -> None:
    secret = token(world)
    world.worker("gpu", token=secret, machine_id="one", boot_id="a")
    refused = refusal(lambda: world.worker("gpu", token=secret, machine_id="two", boot_id="x"))
    assert refused.error_code == "WORKER_NAME_IN_USE"


def test_a_basic_client_that_may_be_an_online_worker_is_kept_aside_and_told_of(world: PlaneWorld) -> None:
    worker = world.worker("gpu")
    worker.beat()
    with world.database.overtaken_after(6, lambda: world.worker("gpu")):
        other = world.worker("gpu")
    assert other.id == worker.id and other.answer.session > worker.answer.session
    assert other.answer.next_heartbeat_in == 30
    assert [line.type for line in lines(world, worker.id)] == ["joined", "join_provisional"]
    assert other.beat().commands == []
    worker.beat()


def test_a_client_that_was_kept_aside_is_placed_on_when_it_is_promoted(world: PlaneWorld) -> None:
    worker = world.worker("gpu", 1)
    worker.beat()
    other = world.worker("gpu", 2, address="new.lan")
    first, second = world.deploy(gpus=1), world.deploy(gpus=1)
    world.pass_(91)
    other.beat()
    assert {world.see(first).worker_id, world.see(second).worker_id} == {worker.id}
    assert cold_of(worker).claimed == "new.lan"
    assert find(Provisional, worker.id, Provisional.PART) is None


@pytest.mark.parametrize("presented", ["issued", JOIN])
def test_a_client_that_is_promoted_keeps_the_token_that_it_was_issued(world: PlaneWorld, presented: str) -> None:
    worker = world.worker("gpu")
    worker.beat()
    other = world.worker("gpu")
    issued = other.token
    world.pass_(91)
    if presented != "issued":
        other.token = presented
    other.beat()
    assert heartbeat_of(worker).digest == tokens.digest(issued)
    other.token = issued
    other.beat()


def test_a_client_is_not_promoted_over_a_heartbeat_of_the_worker(world: PlaneWorld) -> None:
    """The worker was silent when it was read, and is not when the promotion is written."""
    worker = world.worker("gpu")
    worker.beat()
    other = world.worker("gpu")
    world.pass_(91)
    presented = tokens.digest(other.token)
    waiting = provisional.waiting(worker.id, presented)
    assert waiting is not None
    worker.beat()
    with pytest.raises(TransactionConflict):
        registration.promote(waiting, presented, world.now)
    worker.beat()


# Taking a name over


def test_a_takeover_leaves_nothing_of_the_machine_before(world: PlaneWorld) -> None:
    old = world.worker("gpu", 1, machine_id="one", boot_id="a", journal_id="j")
    old.beat(conditions=[m.ReportedCondition("ContainerRuntimeDown", "why")])
    deployment_id = world.deploy()
    old.beat()
    before, retired = heartbeat_of(old), tokens.digest(old.token)
    world.pass_(200)
    new = world.worker("gpu", 2, token=token(world, takeover=True, ephemeral=True), machine_id="two", boot_id="x")
    heartbeat, record = heartbeat_of(new), cold_of(new)
    assert (new.id, heartbeat.boot, heartbeat.session > before.session) == (old.id, admission.short("x"), True)
    assert not any(
        (
            heartbeat.beats,
            heartbeat.previous,
            heartbeat.used,
            heartbeat.previous_until,
            heartbeat.journal,
            heartbeat.conditions,
        )
    )
    assert tokens.was_retired(heartbeat, retired)
    assert (heartbeat.ephemeral, record.ephemeral, record.machine_id, record.hostname) == (True, True, "two", "gpu")
    assert record.join_token_id == tokens.credential_id(new.join_token)
    assert find(Conditions, new.id, "conditions") is None
    seen = world.see(deployment_id)
    assert (seen.status, seen.error_code, seen.desired) == ("error", "WORKER_LOST", "stopped")
    assert seen.message == "another machine took over the name gpu"
    told = [(line.type, line.message) for line in lines(world, new.id)]
    assert ("taken_over", "by gpu") in told and ("gpus_changed", "GPU 1 is there") in told
    assert admission.retired_boots(record) == [admission.short("a")]
    assert refusal(old.beat).error_code == "SESSION_SUPERSEDED"


def test_a_takeover_with_an_ordinary_token_of_its_kind_makes_a_worker_that_stays(world: PlaneWorld) -> None:
    world.worker("gpu", token=token(world, ephemeral=True), machine_id="one")
    world.pass_(200)
    new = world.worker("gpu", token=token(world, takeover=True), machine_id="two")
    assert not heartbeat_of(new).ephemeral and not cold_of(new).ephemeral
    assert new.answer.next_heartbeat_in == 30


@pytest.mark.parametrize("takeover", [True, False])
def test_only_a_takeover_token_takes_the_name_of_an_offline_worker(world: PlaneWorld, takeover: bool) -> None:
    old = world.worker("gpu", machine_id="one")
    world.pass_(200)
    secret = token(world, takeover=takeover)
    if takeover:
        assert world.worker("gpu", token=secret, machine_id="two").id == old.id
        assert refusal(lambda: world.worker("gpu-2", token=secret)).error_code == "UNAUTHENTICATED", "it is used up"
    else:
        refused = refusal(lambda: world.worker("gpu", token=secret, machine_id="two"))
        assert (refused.error_code, refused.retry_after) == ("WORKER_NAME_IN_USE", None)


@pytest.mark.parametrize("calls", range(5))
def test_a_removal_while_a_worker_comes_back_is_not_undone(world: PlaneWorld, calls: int) -> None:
    worker = world.worker("gpu", machine_id="one", boot_id="a")
    worker.beat()
    with world.database.overtaken_after(calls, lambda: admin.remove(worker.id, True, "an admin", world.now)):
        assert refusal(lambda: worker.register(boot_id="b")).error_code == "WORKER_REMOVED"
    assert find(WorkerRecord, worker.id, "cold") is None
    assert refusal(worker.beat).error_code == "WORKER_REMOVED"
