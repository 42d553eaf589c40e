"""muster containers, images, pull, models, disk, prune: what is on a worker's host."""

from __future__ import annotations

import re

from muster_agent.backends.policy import TESTED_IMAGE
from muster_agent.engines.base import Instance
from tests.fixtures.operators import Operators
from tests.fixtures.tables import columns

MODEL = "deploy org/model --name m --gpus 0 --wait"


def test_an_image_is_pulled_listed_and_pruned(operators: Operators) -> None:
    assert operators.out("pull gpu-1 vllm/vllm-openai:latest").splitlines()[-1] == "gpu-1 has vllm/vllm-openai:latest"
    _, row = columns(operators.invoke("images gpu-1 --fresh").stdout)
    assert row[:3] == ["vllm/vllm-openai:latest", "1 kB", "2024-01-01"]
    assert "Would free 1 kB on gpu-1" in operators.out("prune gpu-1 --dry-run")
    assert operators.engine.images()
    assert "Freed 1 kB on gpu-1" in operators.out("prune gpu-1 --images --yes")
    assert not operators.engine.images()
    assert "no image a:b in the registry" in operators.out("pull gpu-1 a:b", 3)
    assert "No images: muster pull gpu-1 IMAGE" in operators.out("images gpu-1 --fresh")


def test_an_image_is_deleted_by_its_reference(operators: Operators) -> None:
    operators.out("pull gpu-1 vllm/vllm-openai:latest")
    said = operators.out("images gpu-1 --delete vllm/vllm-openai:latest --yes")
    assert said.splitlines()[-1].startswith("Deleted: sha256:") and not operators.engine.images()
    assert "IMAGE_NOT_FOUND" in operators.out("images gpu-1 --delete vllm/vllm-openai:latest --yes", 3)


def test_a_pull_without_wait_names_the_command_that_shows_it(operators: Operators) -> None:
    said = operators.out("pull gpu-1 vllm/vllm-openai:latest --no-wait")
    assert re.fullmatch(r"Requested from gpu-1: muster ops show \S{8}\n", said) and operators.waited == 0


def test_the_disks_are_shown_for_all_workers_and_for_one(operators: Operators) -> None:
    head, row = columns(operators.out("disk"))
    assert (head, row) == (["WORKER", "FREE", "TOTAL", "USED", "FULL"], ["gpu-1", "60 B", "100 B", "40 B", "40 %"])
    head, row = columns(operators.out("disk gpu-1"))
    assert (head, row) == (["FOR", "FREE", "TOTAL", "USED", "FOLDER"], ["all", "60 B", "100 B", "40 B"])


def test_the_weights_in_the_cache_are_listed(operators: Operators) -> None:
    assert operators.invoke("models gpu-1").stderr.splitlines()[-1] == "gpu-1 has no weights in its cache."
    blob = operators.folder / "hub" / "models--org--model" / "blobs" / "b"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"x" * 2000)
    assert columns(operators.invoke("models gpu-1").stdout)[1] == ["org/model", "2 kB"]


def test_each_container_is_listed_with_its_model_and_only_ours_is_stopped(operators: Operators) -> None:
    operators.out(MODEL)
    operators.engine.add(Instance(id="f" * 12, name="theirs", image="postgres", state="running"))
    ours = next(each for each in operators.engine.instances() if each.deployment_id)
    rows = columns(operators.invoke("containers gpu-1").stdout)
    assert [each[:4] for each in rows[1:]] == [
        [ours.id[:12], "m", "running", TESTED_IMAGE],
        ["f" * 12, "not Muster's", "running", "postgres"],
    ]
    assert "NOT_OURS" in operators.out(f"containers gpu-1 --stop {'f' * 12} --yes", 1)


def test_an_offline_worker_is_not_asked(operators: Operators) -> None:
    operators.clock.pass_time(725)
    said = operators.out("containers gpu-1", 5)
    assert "the worker was last heard of 12 minutes ago; nothing can reach it (muster workers shows which" in said
