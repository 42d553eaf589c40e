"""Who asked for the name of an online worker is on its timeline, and no more often than an operator can read."""

from __future__ import annotations

import pytest

from chalicelib.auth import tokens
from chalicelib.fleet import join_refusals
from muster.api import resources as r
from muster.api.errors import ApiError
from tests.fixtures.plane_world import ADMIN, PlaneWorld, Worker, lines


def told(world: PlaneWorld, worker: Worker) -> list[str]:
    return [line.message for line in lines(world, worker.id) if line.type == "join_refused"]


def ask(world: PlaneWorld, worker: Worker, hostname: str, token: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        world.worker(worker.name, token=token, boot_id="another", system_info={"hostname": hostname})
    return caught.value


@pytest.fixture
def shared(world: PlaneWorld) -> str:
    return str(tokens.create_token(r.NewRegistrationToken(max_uses=10, expires_in=10**6), ADMIN, world.now).token)


@pytest.fixture
def worker(world: PlaneWorld, shared: str) -> Worker:
    return world.worker(token=shared, boot_id="b")


def test_a_line_names_the_hostname_and_the_time(world: PlaneWorld, worker: Worker, shared: str) -> None:
    error = ask(world, worker, "intruder", shared)
    assert (error.error_code, error.retry_after) == ("WORKER_NAME_IN_USE", 91)
    (line,) = told(world, worker)
    assert line == "intruder asked for this name at 2027-01-15T08:00:00Z: the worker is online, so it was refused"


def test_a_host_that_goes_on_asking_has_a_line_an_hour(world: PlaneWorld, worker: Worker, shared: str) -> None:
    for _ in range(121):
        ask(world, worker, "intruder", shared)
        world.pass_(60)
        worker.beat()
    assert len(told(world, worker)) == 3


def test_each_hostname_has_its_own_line_up_to_a_number(world: PlaneWorld, worker: Worker, shared: str) -> None:
    for number in range(join_refusals.MAX_LINES_PER_HOUR + 10):
        ask(world, worker, f"host-{number}", shared)
    assert len(told(world, worker)) == join_refusals.MAX_LINES_PER_HOUR
    world.pass_(join_refusals.LINE_EVERY_SECONDS)
    worker.beat()
    ask(world, worker, "host-0", shared)
    assert len(told(world, worker)) == join_refusals.MAX_LINES_PER_HOUR + 1


def test_whoever_has_no_credential_leaves_no_line(world: PlaneWorld, worker: Worker) -> None:
    assert ask(world, worker, "intruder", "nonsense").error_code == "UNAUTHENTICATED"
    assert told(world, worker) == []
