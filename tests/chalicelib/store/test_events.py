"""Timelines: every change has its line, under all that it is about; they are followed without loss or repeat."""

from __future__ import annotations

import random

import msgspec
import pytest

from chalicelib.auth import tokens
from chalicelib.deployments import intents
from chalicelib.operations import queue
from chalicelib.store import events
from chalicelib.store.tables import Event
from chalicelib.workers import admin
from muster.api import resources as r
from muster.api.errors import ApiError
from tests.fixtures.plane_world import ADMIN, PlaneWorld, lines


def types(found: list[r.Event]) -> list[str]:
    return [line.type for line in found]


def test_a_deployments_life_is_in_its_own_its_workers_and_the_fleets_timeline(world: PlaneWorld) -> None:
    worker = world.worker()
    deployment_id = world.deploy(name="chat")
    worker.run(deployment_id)
    world.pass_(1)
    worker.report(deployment_id, "error", error_code="CUDA_OUT_OF_MEMORY", message="lower it")
    world.pass_(1)
    intents.delete(deployment_id, ADMIN, world.now)
    own = lines(world, deployment_id)
    assert types(own) == ["created", "placed", "running", "error", "deleted"]
    assert types(lines(world, worker.id)) == ["joined", "placed", "running", "error", "deleted"]
    assert types(lines(world)) == ["joined", "created", "placed", "running", "error", "deleted"]
    failed = own[3]
    assert (failed.by, failed.error_code) == ("worker gpu-1", "CUDA_OUT_OF_MEMORY")
    assert failed.message == "CUDA_OUT_OF_MEMORY: lower it"
    assert {(e.deployment_name, e.worker_name) for e in own[1:]} == {("chat", "gpu-1")}
    assert (own[0].worker_id, own[0].by) == (None, "key admin")


def test_a_worker_that_comes_goes_drains_and_is_removed_has_a_line_for_each(world: PlaneWorld) -> None:
    worker = world.worker(boot_id="1")
    worker.register(boot_id="1")
    worker.register(boot_id="2")
    admin.patch(worker.id, r.WorkerPatch(draining=True), ADMIN, world.now)
    admin.patch(worker.id, r.WorkerPatch(draining=False, labels={"a": "b"}), ADMIN, world.now)
    for status in ("online", "draining", "draining", "offline", "draining", "online"):
        worker.beat(status=status)
    world.pass_(100)
    world.sweep()
    worker.beat()
    world.pass_(86401)
    world.sweep()
    world.sweep()
    admin.lose(worker.id, ADMIN, world.now)
    admin.remove(worker.id, False, ADMIN.label, world.now)
    told = ["joined", "returned", "draining", "undrained", "changed", "draining", "undrained"]
    told += ["offline", "online", "offline", "lost", "lost", "removed"]
    assert types(lines(world, worker.id)) == told
    assert {line.worker_name for line in lines(world) if line.type in ("joined", "lost", "removed")} >= {"gpu-1"}


def test_credentials_are_told_and_no_secret_of_them(world: PlaneWorld) -> None:
    key = tokens.create_key(r.NewApiKey("ci", "viewer"), ADMIN, world.now)
    token = tokens.create_token(r.NewRegistrationToken(name="rack 4", max_uses=8, ephemeral=True), ADMIN, world.now)
    tokens.revoke_key(key.key_id, ADMIN, world.now)
    tokens.revoke_token(token.token_id, ADMIN, world.now)
    told = lines(world)
    assert types(told) == ["key_created", "token_created", "key_revoked", "token_revoked"]
    assert [line.key_id or line.token_id for line in told] == [key.key_id, token.token_id] * 2
    assert told[1].message == "rack 4, 8 uses, for 86400 s, ephemeral"
    stored = str([each.serialize() for each in Event.scan()])
    assert isinstance(key.key, str) and key.key not in stored
    assert isinstance(token.token, str) and token.token not in stored


def test_what_a_worker_was_asked_for_has_a_line_when_it_is_asked_and_one_when_it_ends(world: PlaneWorld) -> None:
    worker = world.worker()
    read = world.ask(worker, "list_images")
    pull = world.ask(worker, "pull_image", image="a:b")
    worker.beat()
    worker.result(read, output={"images": []})
    worker.result(pull, "failed", error_code="IMAGE_NOT_FOUND", message="no such tag")
    worker.result(pull, "failed", error_code="IMAGE_NOT_FOUND", message="no such tag")
    prune = world.ask(worker, "prune", images=True, dry_run=True)
    queue.cancel(prune, ADMIN.label, world.now)
    late = world.ask(worker, "delete_image", image_id="a", force=False)
    world.pass_(601)
    world.operation(late)
    world.operation(late)
    told = lines(world, worker.id)[1:]
    assert [(e.type, e.message) for e in told] == [
        ("pull_image_asked", "image a:b"),
        ("pull_image_failed", "IMAGE_NOT_FOUND: no such tag"),
        ("prune_asked", "images, dry_run"),
        ("prune_cancelled", "images, dry_run"),
        ("delete_image_asked", "image_id a"),
        ("delete_image_expired", "EXPIRED: the worker did not take it in time"),
    ], "and no reads"
    assert [line.operation_id for line in told] == [pull, pull, prune, prune, late, late]


def test_waiting_for_a_place_is_told_once(world: PlaneWorld) -> None:
    deployment_id = world.deploy()
    world.worker("small", gpus=0)
    world.sweep()
    world.worker("large", gpus=1)
    assert types(lines(world, deployment_id)) == ["created", "waiting", "placed"]


def test_a_line_costs_one_request_and_one_unit_for_each_subject(world: PlaneWorld) -> None:
    about = events.About("d", "name", "w", error_code="X")
    with world.database.counting() as calls:
        events.record(about, "error", "why", "worker w", world.now)
        events.record(events.About(key_id="k"), "key_created", "ci", "key admin", world.now)
    assert [operation for operation, _ in calls] == ["BatchWriteItem"] * 2
    sizes = [len(call["RequestItems"]["muster-events"]) for _, call in calls]
    assert sizes == [3, 1]
    assert len(msgspec.json.encode(calls[0][1])) < 3 * 1024, "each a unit"


def test_pages_cover_everything_once_newest_first(world: PlaneWorld) -> None:
    for n in range(57):
        world.pass_(40)
        events.record(events.About(worker_id="w"), "x", str(n), "me", world.now)
    for subjects in (events.SHARDS, ("w",)):
        seen: list[str] = []
        page = events.timeline(subjects, r.EventsQuery(limit=10), world.now)
        while True:
            assert len(page.events) <= 10
            seen += [line.message for line in page.events]
            if page.next_token is None:
                break
            page = events.timeline(subjects, r.EventsQuery(10, page.next_token), world.now)
        assert seen == [str(n) for n in reversed(range(57))]


def test_lines_of_one_request_stay_in_order(world: PlaneWorld) -> None:
    for n in range(20):
        events.record(events.About(worker_id="w"), "x", str(n), "me", world.now)
    assert [line.message for line in lines(world)] == [str(n) for n in range(20)]


def test_what_is_older_than_30_days_is_gone_before_the_database_takes_it_away(world: PlaneWorld) -> None:
    events.record(events.About(worker_id="w"), "x", "", "me", world.now)
    world.pass_(30 * 86400)
    assert lines(world) == []


@pytest.mark.parametrize("seed", range(8))
def test_following_gives_each_line_once_however_late_it_lands(world: PlaneWorld, seed: int, thorough: bool) -> None:
    """Stamps lag behind their landing by up to two minutes; limits, pauses and bursts are at random."""
    draw = random.Random(seed)
    subjects = draw.choice([events.SHARDS, ("w",)])
    for n in range(draw.choice([0, 5, 30])):
        events.record(events.About(worker_id="w"), "old", str(n), "me", world.now - draw.uniform(0, 1000))
    page = events.timeline(subjects, r.EventsQuery(draw.choice([1, 100])), world.now)
    wanted, given, n = set[str](), list[str](), 0
    for _ in range(60 if thorough else 15):
        world.pass_(draw.choice([0.2, 1, 30, 200]))
        for _ in range(draw.choice([0, 0, 1, 3, 12])):
            n += 1
            wanted.add(str(n))
            events.record(events.About(worker_id="w"), "x", str(n), "me", world.now - draw.choice([0, 0, 1, 30, 119]))
        page = events.timeline(subjects, r.EventsQuery(draw.choice([1, 3, 100]), after=page.cursor), world.now)
        given += [line.message for line in page.events]
    while page.events and len(given) <= len(wanted):
        page = events.timeline(subjects, r.EventsQuery(100, after=page.cursor), world.now)
        given += [line.message for line in page.events]
    assert sorted(given) == sorted(wanted)


def test_a_cursor_stays_short_in_a_burst_and_still_gives_each_line_once(world: PlaneWorld) -> None:
    page = events.timeline(events.SHARDS, r.EventsQuery(), world.now)
    given: list[str] = []
    for n in range(450):
        world.pass_(0.01)
        events.record(events.About(worker_id="w"), "x", str(n), "me", world.now)
        if n % 150 == 149:
            page = events.timeline(events.SHARDS, r.EventsQuery(500, after=page.cursor), world.now)
            given += [line.message for line in page.events[::-1]]
            assert page.cursor is not None and len(page.cursor) < 4096
    assert given == [str(n) for n in range(450)]
    first = events.timeline(events.SHARDS, r.EventsQuery(), world.now)
    assert first.cursor is not None and len(first.cursor) < 4096
    assert events.timeline(events.SHARDS, r.EventsQuery(after=first.cursor), world.now).events == []


@pytest.mark.parametrize("query", [{"after": ""}, {"after": "é"}, {"after": "eJw="}, {"next_token": "eJw="}])
def test_a_cursor_that_is_none_is_refused(world: PlaneWorld, query: dict[str, str]) -> None:
    with pytest.raises(ApiError, match=next(iter(query))):
        events.timeline(events.SHARDS, msgspec.convert(query, r.EventsQuery), world.now)


def test_a_bomb_for_a_cursor_is_refused(world: PlaneWorld) -> None:
    bomb = events._packed("1800000000.000000" + "0" * 10_000_000)
    assert len(bomb) < 16_384
    with pytest.raises(ApiError, match="after"):
        events.timeline(events.SHARDS, r.EventsQuery(after=bomb), world.now)
