"""Prune on a real daemon: what Muster made or fetched and nothing uses goes, and all else stays."""

from __future__ import annotations

from threading import Event

import pytest

from muster_agent.engines import labels
from tests.fixtures import docker_engine, shell_image
from tests.fixtures.docker_rig import DockerRig
from tests.fixtures.engine_suite import only, ready
from tests.fixtures.registry import registry

pytestmark = pytest.mark.docker


def test_prune_takes_pulled_images_that_nothing_uses(rig: DockerRig) -> None:
    with registry(200_000) as one, registry(300_000) as other:
        pulled = [rig.engine.pull(each.reference, lambda progress: None, Event()).id for each in (one, other)]
        strangers = _tagged(rig, "muster-test/strangers:1")
        user = rig.client.api.create_container(pulled[0], ["x"], labels=[docker_engine.LABEL])["Id"]

    def prune(dry_run: bool) -> tuple[int, list[str]]:
        ids = frozenset([*pulled, "sha256:" + "0" * 64])
        answer = rig.engine.prune(images=ids, containers=False, volumes=False, dry_run=dry_run)
        return answer.space_reclaimed, [each.why for each in answer.kept]

    try:
        counted, why = prune(dry_run=True)
        assert counted >= 300_000
        assert len(why) == 1 and "uses it" in why[0]
        assert prune(dry_run=False) == (counted, why)
        assert [rig.engine.has_image(each) for each in pulled] == [True, False]
        assert rig.engine.has_image(strangers)
    finally:
        rig.client.api.remove_container(user)
        rig.client.images.remove(strangers)
        assert prune(dry_run=False)[0] >= 200_000


def test_prune_leaves_other_workers_and_strangers_alone(rig: DockerRig) -> None:
    """Also volumes: those with the label that nothing uses, and no others."""
    others = ready(rig, rig.engine.start(rig.spec("other", worker_id="w2")))
    rig.die(others, 1)
    volumes = [
        rig.client.volumes.create(labels={docker_engine.LABEL: "", **owner})
        for owner in ({labels.WORKER: "w1"}, {labels.WORKER: "w2"}, {})
    ]
    try:
        rig.engine.prune(images=frozenset(), containers=True, volumes=True, dry_run=False)
        left = {each.id for each in rig.client.volumes.list()}
        assert [each.id in left for each in volumes] == [False, True, True]
        assert only(rig).id == others.id
    finally:
        for each in volumes[1:]:
            each.remove()


def _tagged(rig: DockerRig, reference: str) -> str:
    repository, _, tag = reference.rpartition(":")
    rig.client.images.get(shell_image.REFERENCE).tag(repository, tag)
    return reference
