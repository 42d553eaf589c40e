"""Placement as properties: pure, so that hypothesis can try fleets that nobody would draw."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chalicelib import workers
from chalicelib.placement import Candidate, Need, Place, place
from tests.fixtures.plane_world import PlaneWorld

INDEXES = st.lists(st.integers(0, 7), unique=True, max_size=8).map(lambda each: tuple(sorted(each)))
LABELS = st.dictionaries(st.sampled_from(["site", "gpu"]), st.sampled_from(["lab", "h200"]))


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    names = draw(st.lists(st.text("abc", min_size=1, max_size=3), unique=True, max_size=5))
    fleet = []
    for name in names:
        devices = draw(INDEXES)
        free = tuple(index for index in devices if draw(st.booleans()))
        fleet.append(Candidate(name, name, draw(st.booleans()), draw(st.booleans()), draw(LABELS), devices, free))
    return fleet


NEEDS = st.builds(Need, st.integers(0, 8) | INDEXES, st.none() | st.sampled_from(["a", "b"]), LABELS)


@given(NEEDS, candidates())
def test_what_is_placed_fits(need: Need, fleet: list[Candidate]) -> None:
    found = place(need, fleet)
    if not isinstance(found, Place):
        return
    worker = next(each for each in fleet if each.worker_id == found.worker_id)
    assert len(found.gpu_indexes) == need.count
    assert set(found.gpu_indexes) <= set(worker.free)
    assert not worker.draining and (worker.online or need.worker_id == worker.worker_id)
    assert need.worker_id in (None, worker.worker_id)
    assert need.selector.items() <= worker.labels.items()


@given(NEEDS, candidates())
def test_every_worker_that_was_asked_has_a_reason(need: Need, fleet: list[Candidate]) -> None:
    found = place(need, fleet)
    if isinstance(found, Place):
        return
    asked = [each for each in fleet if need.worker_id in (None, each.worker_id)]
    assert len(found) == max(1, len(asked))


@given(st.integers(1, 8), candidates())
def test_the_tightest_fit_leaves_room_for_large_ones(count: int, fleet: list[Candidate]) -> None:
    found = place(Need(count), fleet)
    if isinstance(found, Place):
        rooms = [len(w.free) for w in fleet if w.online and not w.draining and len(w.free) >= count]
        assert len(next(w.free for w in fleet if w.worker_id == found.worker_id)) == min(rooms)


def test_a_deployment_waits_with_its_reason_and_gets_the_device_that_frees(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1)
    first, second = world.deploy(name="first"), world.deploy(name="second")
    worker.run(first)
    waiting = world.see(second)
    assert (waiting.status, waiting.worker_id) == ("pending", None)
    assert waiting.message == "waiting for a place: gpu-1: 0 of 1 GPUs free, 1 needed"
    world.stop(first)
    worker.report(first, "stopped")
    assert world.see(second).worker_id == worker.id
    assert workers.get(worker.id, world.now).gpu_claims == {"0": second}


def test_what_a_newer_generation_was_given_is_not_taken_by_a_report_that_came_before_it(world: PlaneWorld) -> None:
    from chalicelib import claims, deployments, slots
    from chalicelib.contract import resources as r
    from tests.fixtures.plane_world import ADMIN

    worker = world.worker(gpus=2)
    deployment_id = world.deploy(gpus=[0])
    worker.run(deployment_id)
    slot, reported = slots.get(worker.id, deployment_id), deployments.load(deployment_id)
    deployments.patch(deployment_id, r.DeploymentPatch(gpus=[1]), ADMIN, world.now)
    both = {"0": deployment_id, "1": deployment_id}
    assert slot is not None and workers.get(worker.id, world.now).gpu_claims == both
    claims.confirm(slot, reported, world.now)
    assert workers.get(worker.id, world.now).gpu_claims == both


def test_one_that_moves_waits_until_its_old_container_is_gone(world: PlaneWorld) -> None:
    from chalicelib import deployments
    from chalicelib.contract import resources as r
    from tests.fixtures.plane_world import ADMIN

    here, there = world.worker("here"), world.worker("there")
    deployment_id = world.deploy(worker_id=here.id)
    here.run(deployment_id)
    deployments.patch(deployment_id, r.DeploymentPatch(worker_id=there.id), ADMIN, world.now)
    assert there.types() == []
    assert world.see(deployment_id).message == "waiting until here has stopped it"
    assert here.types() == ["stop"]
    here.report(deployment_id, "stopped")
    here.active = []
    assert there.types() == ["deploy"]
    assert here.types() == []


def test_a_lost_worker_does_not_hold_up_a_move(world: PlaneWorld) -> None:
    from chalicelib import deployments
    from chalicelib.contract import resources as r
    from tests.fixtures.plane_world import ADMIN

    here, there = world.worker("here"), world.worker("there")
    deployment_id = world.deploy(worker_id=here.id)
    here.run(deployment_id)
    world.pass_(200)
    there.beat()
    deployments.patch(deployment_id, r.DeploymentPatch(worker_id=there.id), ADMIN, world.now)
    assert there.types() == ["deploy"]
    assert here.types() == ["stop"], "a stop is never dropped, however long the worker was away"
