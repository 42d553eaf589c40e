"""What a worker is asked for once: sent, shared, waited for, answered, and what time makes of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from chalicelib.operations import queue
from chalicelib.store import slots
from chalicelib.store.idempotency import Key
from chalicelib.store.items import find
from chalicelib.store.tables import Count
from chalicelib.workers import admin
from muster.api import messages as m
from muster.api.errors import ApiError
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker, lines

PULLED = {"id": "sha256:a", "tags": ["a:b"]}


@pytest.fixture
def worker(world: PlaneWorld) -> Worker:
    return world.worker()


def pull(world: PlaneWorld, worker: Worker) -> str:
    return world.ask(worker, "pull_image", image="a:b")


def code(caught: pytest.ExceptionInfo[ApiError]) -> str:
    return caught.value.error_code


def status(world: PlaneWorld, operation_id: str) -> tuple[str, str | None]:
    shown = world.operation(operation_id)
    return str(shown.status), shown.error_code


def test_what_is_asked_is_queued_and_goes_with_the_next_heartbeat(world: PlaneWorld, worker: Worker) -> None:
    operation_id = pull(world, worker)
    assert status(world, operation_id) == ("queued", None)
    [command] = worker.beat().commands
    assert command == m.PullImage(operation_id, 600.0, "a:b")
    assert status(world, operation_id) == ("sent", None)
    world.pass_(10)
    assert worker.beat().commands == [m.PullImage(operation_id, 590.0, "a:b")], "until it is acknowledged"


def test_what_is_acknowledged_is_sent_no_more(world: PlaneWorld, worker: Worker) -> None:
    worker.journal_id = "journal"
    operation_id = pull(world, worker)
    assert worker.types() == ["pull_image"]
    assert worker.types() == []
    assert status(world, operation_id) == ("accepted", None)


def test_an_offline_worker_is_not_asked(world: PlaneWorld, worker: Worker) -> None:
    world.pass_(91)
    with pytest.raises(ApiError, match="91 s ago") as caught:
        pull(world, worker)
    assert code(caught) == "WORKER_OFFLINE"
    world.pass_(60)
    with pytest.raises(ApiError, match="2 minutes ago"):
        pull(world, worker)


def test_reads_with_the_same_parameters_share_one_until_it_is_sent(world: PlaneWorld, worker: Worker) -> None:
    first = world.ask(worker, "container_logs", container_id="a", lines=1)
    assert world.ask(worker, "container_logs", lines=1, container_id="a") == first
    assert world.ask(worker, "container_logs", container_id="b", lines=1) != first
    worker.beat()
    assert world.ask(worker, "container_logs", container_id="a", lines=1) != first


def test_a_read_that_expired_is_shared_no_more(world: PlaneWorld, worker: Worker) -> None:
    first = world.ask(worker)
    world.pass_(61)
    worker.register()
    assert world.ask(worker) != first


def test_what_changes_something_is_never_shared(world: PlaneWorld, worker: Worker) -> None:
    assert pull(world, worker) != pull(world, worker)


def test_an_idempotency_key_asks_once(world: PlaneWorld, worker: Worker) -> None:
    key = Key("once#1", "body")
    asked = [queue.enqueue(worker.id, "pull_image", {"image": "a:b"}, ADMIN.label, world.now, key) for _ in range(2)]
    assert asked[0].operation_id == asked[1].operation_id
    assert worker.types() == ["pull_image"]


@pytest.mark.parametrize(("type_", "lasts"), [("list_images", 60), ("pull_image", 600)])
def test_what_is_not_taken_in_time_expires(world: PlaneWorld, worker: Worker, type_: str, lasts: int) -> None:
    operation_id = world.ask(worker, type_, **({"image": "a:b"} if type_ == "pull_image" else {}))
    world.pass_(lasts)
    assert status(world, operation_id) == ("queued", None)
    world.pass_(0.1)
    assert status(world, operation_id) == ("expired", "EXPIRED")
    assert worker.types() == []


def test_what_was_accepted_is_lost_after_ten_silent_minutes_and_a_late_result_still_counts(
    world: PlaneWorld, worker: Worker
) -> None:
    worker.journal_id = "journal"
    operation_id = pull(world, worker)
    worker.beat()
    worker.beat()
    world.pass_(600)
    assert status(world, operation_id) == ("accepted", None)
    world.pass_(0.1)
    assert status(world, operation_id) == ("failed", "RESULT_LOST")
    assert worker.result(operation_id, output=PULLED).applied
    assert status(world, operation_id) == ("succeeded", None)


def test_a_word_of_progress_is_no_silence(world: PlaneWorld, worker: Worker) -> None:
    operation_id = pull(world, worker)
    worker.beat()
    for current in (1, 2):
        world.pass_(500)
        assert worker.result(operation_id, "running", progress={"phase": "pulling", "current": current}).applied
    shown = world.operation(operation_id)
    assert (shown.status, shown.progress) == ("running", m.Progress("pulling", 2))


@pytest.mark.parametrize("sent", [False, True])
def test_only_what_was_not_sent_is_cancelled(world: PlaneWorld, worker: Worker, sent: bool) -> None:
    operation_id = pull(world, worker)
    if sent:
        worker.beat()
        with pytest.raises(ApiError, match="sent → cancelled") as caught:
            queue.cancel(operation_id, ADMIN.label, world.now)
        assert code(caught) == "ILLEGAL_TRANSITION"
        return
    queue.cancel(operation_id, ADMIN.label, world.now)
    assert status(world, operation_id) == ("cancelled", None)
    assert worker.types() == []


def test_the_first_result_stays(world: PlaneWorld, worker: Worker) -> None:
    operation_id = pull(world, worker)
    worker.beat()
    assert worker.result(operation_id, output=PULLED).applied
    repeated = worker.result(operation_id, "failed", error_code="LATE")
    assert (repeated.applied, repeated.status) == (False, "succeeded")
    assert world.operation(operation_id).output == PULLED


def test_a_result_is_a_receipt(world: PlaneWorld, worker: Worker) -> None:
    operation_id = pull(world, worker)
    worker.beat()
    worker.result(operation_id, "failed", error_code="X")
    assert worker.types() == []
    assert slots.of_worker(worker.id) == ([], [])


def test_a_result_of_another_worker_is_not_taken(world: PlaneWorld, worker: Worker) -> None:
    other = world.worker("other")
    operation_id = pull(world, worker)
    for named in (operation_id, "nothing"):
        with pytest.raises(ApiError) as caught:
            other.result(named, output=PULLED)
        assert code(caught) == "OPERATION_NOT_FOUND"
    assert status(world, operation_id) == ("queued", None)


@pytest.mark.parametrize("output", [{"logs": 7}, {}, {"logs": None}])
def test_an_output_of_another_shape_is_refused(world: PlaneWorld, worker: Worker, output: dict[str, Any]) -> None:
    operation_id = world.ask(worker, "container_logs", container_id="a", lines=1, since=None)
    worker.beat()
    with pytest.raises(ApiError, match="output") as caught:
        worker.result(operation_id, output=output)
    assert code(caught) == "INVALID_REQUEST"
    assert status(world, operation_id) == ("sent", None)


@pytest.mark.parametrize("character", ["x", "é", "\x00", '"'])
def test_of_an_output_that_is_too_long_the_end_is_kept(character: str) -> None:
    logs = character * queue.MAX_OUTPUT_BYTES + "the end"
    kept = queue._tail({"logs": logs, "truncated": False})
    assert kept["truncated"] is True
    assert logs.endswith(kept["logs"]) and kept["logs"].endswith("the end")
    assert queue.MAX_OUTPUT_BYTES * 8 // 10 < len(msgspec.json.encode(kept["logs"])) <= queue.MAX_OUTPUT_BYTES


def test_an_output_that_fits_stays_as_it_is() -> None:
    output = {"logs": "x" * 1000, "truncated": False}
    assert queue._tail(output) is output


def test_a_worker_that_lost_its_journal_fails_what_it_was_sent(world: PlaneWorld, worker: Worker) -> None:
    worker.journal_id = "before"
    sent = pull(world, worker)
    worker.beat()
    queued = pull(world, worker)
    worker.journal_id = "after"
    assert [command.command_id for command in worker.beat().commands] == [queued]
    assert status(world, sent) == ("failed", "AGENT_STATE_LOST")


def test_open_operations_of_a_worker_are_listed_newest_first(world: PlaneWorld, worker: Worker) -> None:
    first = pull(world, worker)
    world.pass_(1)
    second = pull(world, worker)
    world.ask(world.worker("other"))
    listed = queue.open_of(worker.id, world.now).operations
    assert [each.operation_id for each in listed] == [second, first]
    world.pass_(600)
    assert [each.operation_id for each in queue.open_of(worker.id, world.now).operations] == [second]
    with pytest.raises(ApiError) as caught:
        queue.open_of("nobody", world.now)
    assert code(caught) == "WORKER_NOT_FOUND"


def test_an_operation_is_found_for_seven_days(world: PlaneWorld, worker: Worker) -> None:
    operation_id = pull(world, worker)
    world.pass_(7 * 86400)
    assert world.operation(operation_id).operation_id == operation_id
    world.pass_(1)
    for named in (operation_id, "waits", "nothing"):
        with pytest.raises(ApiError) as caught:
            world.operation(named)
        assert code(caught) == "OPERATION_NOT_FOUND"


def test_an_end_is_counted_once(world: PlaneWorld, worker: Worker) -> None:
    operation_id = pull(world, worker)
    worker.beat()
    for _ in range(3):
        worker.result(operation_id, output=PULLED)
    counted = find(Count, "count#pull_image#succeeded")
    assert counted is not None and counted.ended == 1


# Waiting, with a given clock


class Clock:
    """Time passes only by sleeping; `events` are what happens at which second."""

    def __init__(self, world: PlaneWorld) -> None:
        self.world, self.start, self.pauses = world, world.now, list[float]()
        self.events: list[tuple[float, Callable[[], object]]] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.world.pass_(seconds)
        while self.events and self.world.now - self.start >= self.events[0][0]:
            self.events.pop(0)[1]()

    def wait(self, operation_id: str, seconds: float) -> str:
        operation = queue.load(operation_id, self.world.now)
        return str(queue.wait(operation, seconds, lambda: self.world.now, self.sleep).status)


def test_a_wait_ends_with_its_time(world: PlaneWorld, worker: Worker) -> None:
    clock = Clock(world)
    assert clock.wait(pull(world, worker), 25) == "queued"
    assert world.now - clock.start == pytest.approx(25)
    assert clock.pauses[0] == 0.1 and max(clock.pauses) == 0.8


def test_a_wait_ends_with_the_result(world: PlaneWorld, worker: Worker) -> None:
    clock, operation_id = Clock(world), pull(world, worker)
    clock.events = [(2.0, worker.beat), (3.0, lambda: worker.result(operation_id, output=PULLED))]
    assert clock.wait(operation_id, 25) == "succeeded"
    assert world.now - clock.start < 3.8


@pytest.mark.parametrize("step", [86400, -86400])
def test_a_wait_takes_no_longer_because_the_clock_was_set(world: PlaneWorld, worker: Worker, step: float) -> None:
    clock = Clock(world)
    clock.events = [(2.0, lambda: world.pass_(step))]
    operation_id = pull(world, worker)
    clock.wait(operation_id, 25)
    assert sum(clock.pauses) == pytest.approx(25) or world.operation(operation_id).status == "expired"
    assert sum(clock.pauses) <= 25.001


def test_a_command_is_never_given_more_time_because_the_clock_was_put_back(world: PlaneWorld, worker: Worker) -> None:
    pull(world, worker)
    world.pass_(-86400)
    (command,) = worker.beat().commands
    assert command.expires_in == queue.ACTION_EXPIRY_SECONDS  # type: ignore[union-attr]


def test_who_does_not_wait_is_answered_without_a_pause(world: PlaneWorld, worker: Worker) -> None:
    clock = Clock(world)
    assert clock.wait(pull(world, worker), 0) == "queued"
    assert clock.pauses == []


# What is answered


@pytest.mark.parametrize(
    ("result", "error_code"),
    [
        ({"status": "failed", "error_code": "IMAGE_NOT_FOUND", "message": "no such tag"}, "IMAGE_NOT_FOUND"),
        ({"status": "failed"}, "OPERATION_FAILED"),
    ],
)
def test_a_failure_there_is_raised_as_the_workers_own(
    world: PlaneWorld, worker: Worker, result: dict[str, str], error_code: str
) -> None:
    operation_id = pull(world, worker)
    worker.beat()
    worker.result(operation_id, **result)
    with pytest.raises(ApiError, match=result.get("message", "failed there")) as caught:
        queue.output_of(queue.load(operation_id, world.now))
    assert code(caught) == error_code


def test_a_code_of_any_length_is_cut(world: PlaneWorld, worker: Worker) -> None:
    operation_id = pull(world, worker)
    worker.beat()
    worker.result(operation_id, "failed", error_code="X" * 10_000, message="y" * 100_000)
    shown = world.operation(operation_id)
    assert (len(shown.error_code or ""), len(shown.message or "")) == (m.MAX_CODE, m.MAX_MESSAGE)


def test_what_was_cancelled_or_expired_while_it_was_waited_for_says_so(world: PlaneWorld, worker: Worker) -> None:
    cancelled, expired = pull(world, worker), world.ask(worker)
    queue.cancel(cancelled, ADMIN.label, world.now)
    world.pass_(61)
    for operation_id, error_code in ((cancelled, "ILLEGAL_TRANSITION"), (expired, "WORKER_OFFLINE")):
        with pytest.raises(ApiError) as caught:
            queue.output_of(queue.load(operation_id, world.now))
        assert code(caught) == error_code


def test_a_success_without_an_output_is_an_empty_one(world: PlaneWorld, worker: Worker) -> None:
    operation_id = world.ask(worker, "stop_container", container_id="a")
    worker.beat()
    assert worker.result(operation_id).applied
    assert queue.output_of(queue.load(operation_id, world.now)) == {}


def test_a_worker_that_was_removed_has_nothing_open(world: PlaneWorld, worker: Worker) -> None:
    pull(world, worker)
    admin.remove(worker.id, False, "an admin", world.now)
    assert slots.of_worker(worker.id) == ([], [])


# Who asked, and what became of it


def test_the_timeline_has_who_asked_what_and_how_it_ended(world: PlaneWorld, worker: Worker) -> None:
    done = world.ask(worker, "prune", images=True, dry_run=True)
    failed = pull(world, worker)
    cancelled = world.ask(worker, "pull_image", image="c:d")
    queue.cancel(cancelled, "key somebody", world.now)
    worker.beat()
    worker.result(done, output={"space_reclaimed": 0})
    worker.result(failed, "failed", error_code="IMAGE_NOT_FOUND", message="no such tag")
    assert [(each.type, each.message, each.by) for each in lines(world, worker.id)[1:]] == [
        ("prune_asked", "images, dry_run", ADMIN.label),
        ("pull_image_asked", "image a:b", ADMIN.label),
        ("pull_image_asked", "image c:d", ADMIN.label),
        ("pull_image_cancelled", "image c:d", "key somebody"),
        ("prune_succeeded", "images, dry_run", "worker gpu-1"),
        ("pull_image_failed", "IMAGE_NOT_FOUND: no such tag", "worker gpu-1"),
    ]


def test_a_read_leaves_no_line(world: PlaneWorld, worker: Worker) -> None:
    told = lines(world, worker.id)
    operation_id = world.ask(worker)
    worker.beat()
    worker.result(operation_id, output={"images": []})
    assert status(world, operation_id) == ("succeeded", None)
    assert lines(world, worker.id) == told


def test_what_a_worker_says_beside_its_result_is_kept(world: PlaneWorld, worker: Worker) -> None:
    operation_id = pull(world, worker)
    worker.beat()
    world.pass_(1)
    assert worker.result(operation_id, "running", message="pulls").applied
    assert world.operation(operation_id).message == "pulls"
    assert worker.result(operation_id, output=PULLED).applied
    shown = world.operation(operation_id)
    assert (shown.message, shown.worker_id, shown.type) == (None, worker.id, "pull_image")
    assert (shown.created_at.timestamp(), shown.expires_at.timestamp()) == (world.now - 1, world.now + 599)


def test_a_late_failure_replaces_a_lost_result_and_a_late_progress_does_not(world: PlaneWorld, worker: Worker) -> None:
    worker.journal_id = "journal"
    operation_id = pull(world, worker)
    worker.beat()
    worker.beat()
    world.pass_(601)
    assert status(world, operation_id) == ("failed", "RESULT_LOST")
    assert not worker.result(operation_id, "running").applied
    assert worker.result(operation_id, "failed", error_code="X").applied
    assert status(world, operation_id) == ("failed", "X")


def test_a_result_after_a_cancellation_changes_nothing(world: PlaneWorld, worker: Worker) -> None:
    operation_id = pull(world, worker)
    queue.cancel(operation_id, ADMIN.label, world.now)
    late = worker.result(operation_id, output=PULLED)
    assert (late.applied, late.status) == (False, "cancelled")


def test_a_session_from_the_future_is_refused(world: PlaneWorld, worker: Worker) -> None:
    operation_id = pull(world, worker)
    with pytest.raises(ApiError, match="session: ") as caught:
        worker.result(operation_id, output=PULLED, session=int(world.now * 1000) + 300_001)
    assert code(caught) == "INVALID_REQUEST"
    assert status(world, operation_id) == ("queued", None)


def test_the_result_of_a_client_that_is_kept_aside_changes_nothing(world: PlaneWorld, worker: Worker) -> None:
    operation_id = pull(world, worker)
    assert queue.ignored(worker.id, operation_id, m.Result("succeeded")) == m.Applied(False, "succeeded")
    assert status(world, operation_id) == ("queued", None)
    with pytest.raises(ApiError) as caught:
        queue.ignored("another", operation_id, m.Result("succeeded"))
    assert code(caught) == "OPERATION_NOT_FOUND"


@pytest.mark.parametrize("calls", range(3, 6))
def test_of_reads_that_are_asked_for_at_once_one_is_made(world: PlaneWorld, worker: Worker, calls: int) -> None:
    others: list[str] = []
    with world.database.overtaken_after(calls, lambda: others.append(world.ask(worker))):
        first = world.ask(worker)
    assert others == [first]
    assert len(worker.beat().commands) == 1


@pytest.mark.parametrize("calls", range(1, 5))
def test_a_cancellation_while_a_heartbeat_delivers_is_taken_or_refused(
    world: PlaneWorld, worker: Worker, calls: int
) -> None:
    operation_id = pull(world, worker)

    def cancel() -> None:
        with suppress(ApiError):
            queue.cancel(operation_id, ADMIN.label, world.now)

    with world.database.overtaken_after(calls, cancel):
        sent = worker.types()
    assert status(world, operation_id) == ("sent" if sent else "cancelled", None)
