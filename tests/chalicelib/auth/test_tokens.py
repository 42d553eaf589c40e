"""Credentials: stored as digests, found by their secret, good for as long as they should be; and the first key."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from chalicelib.auth import tokens
from chalicelib.store.idempotency import Key
from chalicelib.store.items import find
from chalicelib.store.tables import Credential, WorkerHeartbeat
from muster.api import resources as r
from muster.api.endpoints import Access
from muster.api.errors import ApiError
from tests.fixtures.database import Killed
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker, lines
from tests.fixtures.route_calls import call

A, B, C, D = (tokens.digest(name) for name in "abcd")
NOW = 1_800_000_000.0


def stored(secret: str) -> Credential:
    found = find(Credential, tokens.credential_id(secret))
    assert found is not None
    return found


def test_a_secret_tells_what_it_is_and_whose_and_is_no_other() -> None:
    secrets = [tokens.new_secret("worker", "5c1d-0000") for _ in range(2)]
    assert secrets[0] != secrets[1]
    assert all(secret.startswith("mst_wrk_5c1d-0000_") and len(secret) > 18 + 42 for secret in secrets)
    assert tokens.worker_named_by(secrets[0]) == "5c1d-0000"
    assert tokens.worker_named_by(tokens.new_secret("key")) is None


def test_an_id_is_a_uuid_that_tells_nothing_of_the_digest() -> None:
    found = tokens.credential_id("secret")
    assert found == tokens.credential_id("secret") != tokens.credential_id("Secret")
    assert len(found) == 36 and found[14] == "4"
    assert found.replace("-", "")[:12] not in tokens.digest("secret").hex()


def test_a_secret_that_no_text_is_made_of_has_a_digest() -> None:
    assert tokens.digest("\udcff") != tokens.digest("\udcfe")


def test_a_secret_is_found_as_what_it_is_and_as_nothing_else(world: PlaneWorld) -> None:
    key = tokens.create_key(r.NewApiKey("ci", "viewer"), ADMIN, world.now)
    assert isinstance(key.key, str)
    principal = tokens.api_key(key.key)
    assert principal == tokens.Principal("key ci", Access.VIEWER, key.key_id)
    assert tokens.lookup(key.key, "registration") is None
    assert tokens.api_key(key.key + "x") is None
    stored(key.key).update(actions=[Credential.digest.set(b"another")])
    assert tokens.api_key(key.key) is None, "an id alone opens nothing"


@pytest.mark.parametrize(("passed", "uses", "good"), [(59, 1, True), (60, 1, False), (0, 2, False)])
def test_a_registration_token_is_good_for_its_time_and_its_uses(
    world: PlaneWorld, passed: float, uses: int, good: bool
) -> None:
    made = tokens.create_token(r.NewRegistrationToken(expires_in=60, max_uses=2), ADMIN, world.now)
    token = stored(str(made.token))
    token.uses = uses
    assert tokens.usable(token, world.now + passed) is good


def test_a_seeded_token_does_not_expire_and_a_second_seed_changes_nothing(world: PlaneWorld) -> None:
    tokens.seed_registration_token("seeded", NOW)
    tokens.seed_admin_key("an admin's", NOW)
    stored("seeded").update(actions=[Credential.uses.add(7)])
    tokens.seed_registration_token("seeded", NOW + 1)
    tokens.seed_admin_key("an admin's", NOW + 1)
    token = stored("seeded")
    assert (token.uses, tokens.usable(token, NOW * 2)) == (7, True)
    principal = tokens.api_key("an admin's")
    assert principal is not None and principal.access is Access.ADMIN


def heartbeat(**fields: Any) -> WorkerHeartbeat:
    return WorkerHeartbeat("w", digest=A, **fields)


@pytest.mark.parametrize(
    ("stored_as", "own", "opens"),
    [
        ({}, False, False),
        ({"previous": B, "previous_until": NOW + 1}, True, True),
        ({"previous": B, "previous_until": NOW}, False, False),
        ({"used": B, "previous_until": NOW + 1}, True, True),
        ({"used": B}, False, False),
        ({"joined": B}, False, True),
        ({"retired": B}, False, False),
        ({"joined": B, "gone": True}, False, False),
        ({"previous": B, "previous_until": NOW + 1, "gone": True}, False, False),
    ],
)
def test_what_opens_a_worker_besides_its_latest_token(stored_as: dict[str, object], own: bool, opens: bool) -> None:
    worker = heartbeat(**stored_as)
    assert (tokens.is_own(worker, B, NOW), tokens.opens(worker, B, NOW)) == (own, opens)
    assert tokens.is_own(worker, A, NOW) is not bool(stored_as.get("gone"))


def test_the_last_two_that_ended_are_remembered() -> None:
    worker = heartbeat(retired=tokens.retire(heartbeat(), B))
    assert tokens.was_retired(worker, B) and not tokens.was_retired(worker, A)
    worker.retired = tokens.retire(worker, C)
    assert tokens.was_retired(worker, B) and tokens.was_retired(worker, C)
    worker.retired = tokens.retire(worker, D)
    assert not tokens.was_retired(worker, B)
    assert not tokens.was_retired(worker, b"")


def test_the_first_use_of_a_token_ends_those_that_it_replaces(world: PlaneWorld) -> None:
    worker = world.worker(boot_id="1")
    older = worker.token
    worker.register(boot_id="2")
    found = find(WorkerHeartbeat, worker.id)
    assert found is not None and tokens.opens(found, tokens.digest(older), world.now)
    tokens.first_use(found, tokens.digest(worker.token))
    found = find(WorkerHeartbeat, worker.id)
    assert found is not None and tokens.opens(found, tokens.digest(worker.token), world.now)
    assert not tokens.opens(found, tokens.digest(older), world.now)
    assert tokens.was_retired(found, tokens.digest(older))
    with world.database.counting() as calls:
        tokens.first_use(found, tokens.digest(worker.token))
    assert calls == [], "it was used before"


def test_a_secret_is_shown_once_and_not_to_the_same_idempotency_key(world: PlaneWorld) -> None:
    key, token = Key("once#key", "b"), Key("once#token", "b")
    keys = [tokens.create_key(r.NewApiKey("ci", "viewer"), ADMIN, world.now, key) for _ in range(2)]
    made = [tokens.create_token(r.NewRegistrationToken(), ADMIN, world.now, token) for _ in range(2)]
    assert keys[0].key_id == keys[1].key_id and made[0].token_id == made[1].token_id
    assert [isinstance(each, str) for each in (keys[0].key, keys[1].key, made[0].token, made[1].token)] == [
        True,
        False,
        True,
        False,
    ]
    listed = [*tokens.list_keys(r.KeysQuery(), ADMIN).api_keys, *tokens.list_tokens(r.PageQuery()).registration_tokens]
    assert str(keys[0].key) not in str(listed) and str(made[0].token) not in str(listed)


def test_what_is_revoked_opens_nothing_and_is_not_there_to_be_revoked_again(world: PlaneWorld) -> None:
    key = tokens.create_key(r.NewApiKey("ci", "viewer"), ADMIN, world.now)
    with pytest.raises(ApiError) as caught:
        tokens.revoke_token(key.key_id, ADMIN, world.now)
    assert caught.value.error_code == "TOKEN_NOT_FOUND", "a key is no token"
    tokens.revoke_key(key.key_id, ADMIN, world.now)
    assert tokens.api_key(str(key.key)) is None
    with pytest.raises(ApiError) as caught:
        tokens.revoke_key(key.key_id, ADMIN, world.now)
    assert caught.value.error_code == "KEY_NOT_FOUND"


# What a registration token opens ends with it


@pytest.fixture
def basic(world: PlaneWorld) -> Worker:
    """A client that reads worker-api.md as if the registration token were its Bearer."""
    made = tokens.create_token(r.NewRegistrationToken(max_uses=10), ADMIN, world.now)
    worker = world.worker("basic", token=str(made.token))
    worker.token = worker.join_token
    worker.beat()
    return worker


def revoke(world: PlaneWorld, secret: str) -> None:
    tokens.revoke_token(tokens.credential_id(secret), ADMIN, world.now, segments=1)


def code(act: Any, *arguments: Any) -> str:
    with pytest.raises(ApiError) as caught:
        act(*arguments)
    return caught.value.error_code


def test_a_revoked_token_opens_no_worker_that_registered_with_it(world: PlaneWorld, basic: Worker) -> None:
    others = [world.worker(f"gpu-{i}", token=basic.join_token) for i in range(5)]
    fleet = [world.worker(f"other-{i}") for i in range(5)]
    others[0].beat()
    revoke(world, basic.join_token)
    for worker in (basic, *others):
        issued, worker.token = worker.token, basic.join_token
        assert code(worker.beat) == "UNAUTHENTICATED"
        for name in ("report", "result", "list_images", "container_logs", "disk_usage", "prune"):
            request = call(name, world.now, bearer=worker.token, ids={"worker_id": worker.id})
            assert code(request.authenticate) == "UNAUTHENTICATED"
        assert code(worker.register) == "UNAUTHENTICATED"
        worker.token = issued
    for worker in (*others, *fleet):
        worker.beat()  # with its own token


def test_a_revocation_that_was_cut_off_anywhere_is_resumed_by_the_next(world: PlaneWorld) -> None:
    made = tokens.create_token(r.NewRegistrationToken(max_uses=10_000), ADMIN, world.now)
    ended = 0
    for kill_after in range(12):
        secret = str(tokens.create_token(r.NewRegistrationToken(max_uses=9), ADMIN, world.now).token)
        workers_ = [world.worker(f"gpu-{kill_after}-{i}", token=secret) for i in range(2)]
        with world.database.killed_after(kill_after), suppress(Killed):
            tokens.revoke_token(tokens.credential_id(secret), ADMIN, world.now, segments=1)
        left = find(Credential, tokens.credential_id(secret))
        if left is not None and left.revoked:
            assert code(lambda: world.worker("late", token=secret)) == "UNAUTHENTICATED"  # noqa: B023
            (shown,) = [each for each in tokens.list_tokens(r.PageQuery()).registration_tokens if each.revoked]
            assert shown.token_id == tokens.credential_id(secret)
        if left is not None:
            tokens.revoke_token(tokens.credential_id(secret), ADMIN, world.now, segments=1)
        ended += left is None
        for worker in workers_:
            worker.token = secret
            assert code(worker.beat) == "UNAUTHENTICATED"
        assert code(tokens.revoke_token, tokens.credential_id(secret), ADMIN, world.now, 1) == "TOKEN_NOT_FOUND"
    assert ended, "some went through to the end"
    left_alone = {each.token_id: each.revoked for each in tokens.list_tokens(r.PageQuery()).registration_tokens}
    assert left_alone[made.token_id] is False


def test_a_registration_that_read_the_token_before_it_was_revoked_is_refused(world: PlaneWorld, basic: Worker) -> None:
    """Whatever the revocation overtakes: each registration checks the token in its transaction."""
    secret = basic.join_token
    for calls in range(14):
        fresh = str(tokens.create_token(r.NewRegistrationToken(max_uses=9), ADMIN, world.now).token)
        worker = world.worker(f"gpu-{calls}", token=fresh)
        worker.beat()
        world.pass_(91)
        for act in (worker.register, lambda: world.worker(f"new-{calls}", token=fresh)):  # noqa: B023
            if find(Credential, tokens.credential_id(fresh)) is None:
                break
            world.database.overtake = (calls, lambda: revoke(world, fresh))  # noqa: B023
            with suppress(ApiError):
                act()
            world.database.overtake = None
        opened = [heartbeat for heartbeat in WorkerHeartbeat.scan(WorkerHeartbeat.joined == tokens.digest(fresh))]
        assert opened == [] or find(Credential, tokens.credential_id(fresh)) is not None
    assert [
        heartbeat.worker_id for heartbeat in WorkerHeartbeat.scan(WorkerHeartbeat.joined == tokens.digest(secret))
    ] == [basic.id]


def test_a_returning_workers_own_token_is_no_registration_token(world: PlaneWorld) -> None:
    """Where all answers were lost it knows an ended token alone: what opens it then is that, and not a revoked one."""
    secret = str(tokens.create_token(r.NewRegistrationToken(max_uses=9), ADMIN, world.now).token)
    worker = world.worker(token=secret, boot_id="a")
    worker.beat()
    worker.register(boot_id="b", past_boot_ids=["a"])
    revoke(world, secret)
    worker.token = worker.answer.token
    worker.register(boot_id="b", past_boot_ids=["a"])
    worker.token = secret
    assert code(worker.beat) == "UNAUTHENTICATED"


def test_a_key_is_told_its_name_and_role() -> None:
    principal = tokens.Principal("key the key of anna", Access.OPERATOR)
    assert tokens.who_is(principal) == r.WhoAmI("the key of anna", "operator")


# The first admin's key, whatever an index that lags behind says


def first(world: PlaneWorld) -> r.ApiKey | None:
    return tokens.first_admin_key("first", ADMIN, world.now)


def test_it_is_an_admins_and_made_once(world: PlaneWorld) -> None:
    made = first(world)
    assert made is not None and isinstance(made.key, str)
    principal = tokens.api_key(made.key)
    assert principal is not None and principal.access is Access.ADMIN
    assert first(world) is None
    assert [each.name for each in tokens.list_keys(r.KeysQuery(), ADMIN).api_keys] == ["first"]


def test_there_is_no_need_for_it_beside_another_admins(world: PlaneWorld) -> None:
    for i in range(120):  # more than a page of the list
        tokens.create_key(r.NewApiKey(f"viewer {i}", "viewer"), ADMIN, world.now)
    other = tokens.create_key(r.NewApiKey("anna", "admin"), ADMIN, world.now + 1)
    assert first(world) is None
    tokens.revoke_key(other.key_id, ADMIN, world.now)
    assert first(world) is not None


def test_once_it_is_revoked_another_may_be_made(world: PlaneWorld) -> None:
    made = first(world)
    assert made is not None
    tokens.revoke_key(made.key_id, ADMIN, world.now)
    again = first(world)
    assert again is not None and again.key_id != made.key_id


def test_the_timeline_says_who_made_it(world: PlaneWorld) -> None:
    made = first(world)
    assert made is not None
    (line,) = lines(world)
    assert (line.message, line.by, line.key_id) == ("first, admin", ADMIN.label, made.key_id)
