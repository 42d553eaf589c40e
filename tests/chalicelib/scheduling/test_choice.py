"""Which worker a waiting deployment gets: its own first, and no claim of a slot that is gone is in the way."""

from __future__ import annotations

from chalicelib.deployments import intents
from chalicelib.store.items import find
from chalicelib.store.tables import WorkerRecord
from muster.api import resources as r
from tests.fixtures.plane_world import ADMIN, PlaneWorld


def test_a_change_stays_on_its_worker_although_another_fits_more_tightly(world: PlaneWorld) -> None:
    """Its weights are there."""
    home = world.worker("home", gpus=4)
    deployment_id = world.deploy(gpus=1)
    home.run(deployment_id)
    world.worker("tight", gpus=2)
    intents.patch(deployment_id, r.DeploymentPatch(gpus=2), ADMIN, world.now)
    assert world.see(deployment_id).worker_id == home.id


def test_a_change_goes_elsewhere_while_its_worker_is_offline(world: PlaneWorld) -> None:
    home = world.worker("home", gpus=4)
    deployment_id = world.deploy(gpus=1)
    home.run(deployment_id)
    world.pass_(200)
    other = world.worker("other", gpus=2)
    intents.patch(deployment_id, r.DeploymentPatch(gpus=2), ADMIN, world.now)
    assert world.see(deployment_id).worker_id == other.id


def test_a_claim_whose_slot_is_gone_holds_nothing_back(world: PlaneWorld) -> None:
    worker = world.worker(gpus=1)
    record = find(WorkerRecord, worker.id, "cold")
    assert record is not None
    record.update(actions=[WorkerRecord.claims.set('{"0":"left-behind"}')])
    deployment_id = world.deploy()
    assert world.claims(worker.id) == {"0": deployment_id}
