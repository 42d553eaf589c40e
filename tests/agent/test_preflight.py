"""What is in the way of a deployment, told all at once before anything is fetched or ended."""

from __future__ import annotations

from typing import Any

import pytest

from agent.engines import Instance
from agent.gpus import Gpu, Holder
from agent.hub import Finding, HuggingFace, Question, question
from chalicelib.contract.messages import Fix, Report
from tests.fixtures.agent_world import GIB, AgentWorld
from tests.fixtures.hub_server import HubServer


def ask(hub: HubServer, model: str, token: str | None = None, revision: str = "main") -> Finding | None:
    return HuggingFace().obstacle(Question(model, revision, hub.url, token))


@pytest.mark.parametrize(
    ("model", "token", "revision", "code", "said"),
    [
        ("org/model", None, "main", None, ""),
        ("org/model", None, "gguf", None, ""),
        ("org/model", None, "v9", "MODEL_NOT_FOUND", "config.revision"),
        ("org/none", None, "main", "MODEL_NOT_FOUND", "private one needs HF_TOKEN"),
        ("org/none", "good", "main", "MODEL_NOT_FOUND", "check `model`"),
        ("org/gated", None, "main", "MODEL_GATED", "no token"),
        ("org/gated", "good", "main", "MODEL_GATED", "licence"),
        ("org/gated", "accepted", "main", None, ""),
        ("org/model", "stale", "main", "MODEL_GATED", "expired"),
    ],
)
def test_what_the_hub_says(
    hub: HubServer, model: str, token: str | None, revision: str, code: str | None, said: str
) -> None:
    found = ask(hub, model, token, revision)
    assert (found.error_code if found else None) == code
    assert found is None or (said in found.message and not found.warns_only)
    assert hub.seen == [(f"/{model}/resolve/{revision}/config.json", f"Bearer {token}" if token else None)]
    assert found is None or token is None or token not in found.message


def test_a_hub_that_cannot_be_asked_only_warns(hub: HubServer) -> None:
    for endpoint in (hub.url, "http://127.0.0.1:1", "nonsense"):
        found = HuggingFace().obstacle(Question("org/broken", "main", endpoint))
        assert found is not None and found.warns_only
        assert found.error_code == "HUB_UNREACHABLE"


@pytest.mark.parametrize(
    ("listing", "size"),
    [
        (b'{"siblings": [{"rfilename": "a.safetensors", "size": 5}, {"rfilename": "b.safetensors", "size": 7},'
         b' {"rfilename": "a.bin", "size": 100}, {"rfilename": "README.md", "size": 1}]}', 12),
        (b'{"siblings": [{"rfilename": "a.bin", "size": 100}]}', 100),
        (b'{"siblings": [{"rfilename": "a.safetensors"}]}', None),
        (b"<html>", None),
        (b"[" * 5000, None),
        (b"{}", None),
    ],
)  # fmt: skip
def test_the_bytes_of_the_weights(hub: HubServer, listing: bytes, size: int | None) -> None:
    hub.listing = listing
    assert HuggingFace().weights(Question("org/model", "main", hub.url)) == size


def test_whom_to_ask() -> None:
    asked = question("org/model:Q4", "v2", {"HF_ENDPOINT": "http://mirror/", "HF_TOKEN": "t"})
    assert asked == Question("org/model", "v2", "http://mirror", "t")
    assert "'t'" not in repr(asked)
    assert question("org/model", None, {}) == Question("org/model", "main")
    for model, env in (("/models/a", {}), ("s3://bucket/a", {}), ("org/model", {"HF_HUB_OFFLINE": "1"})):
        assert question(model, None, env) is None


# In a deployment's life


@pytest.mark.parametrize("uses_images", [True, False])
def test_a_login_counts_for_processes_alone(world: AgentWorld, uses_images: bool) -> None:
    (world.folder / "token").write_text("of-the-login\n")
    world.engine.uses_images = uses_images
    world.deploy()
    world.settle()
    assert [each.token for each in world.hub.asked] == [None if uses_images else "of-the-login"]


def refused(world: AgentWorld, **command: Any) -> Report:
    world.deploy(**command)
    world.settle(2)
    assert world.engine.calls == [], "nothing was pulled or started"
    return world.last_report()


def test_a_model_that_is_not_there_is_an_error_before_anything_is_pulled(world: AgentWorld) -> None:
    world.hub.obstacles = {"org/model": Finding("MODEL_NOT_FOUND", "no such model")}
    report = refused(world)
    assert (report.status, report.error_code, report.message) == ("error", "MODEL_NOT_FOUND", "no such model")


def test_everything_is_told_at_once(world: AgentWorld) -> None:
    world.hub.obstacles = {"org/model": Finding("MODEL_GATED", "the licence")}
    world.engine.add(Instance("c" * 64, "their-notebook", "jupyter", "running"))
    world.engine.add(Instance("s", "other", "i", "running", worker_id="w2", deployment_id="x", port=8123))
    world.gpus = [Gpu(0, 80 * GIB, 60 * GIB, (Holder(77, 60 * GIB, "python train.py", "c" * 64),))]
    world.free_disk = 1000
    report = refused(world, gpus=[0, 5], config={"port": 8123})
    message = report.message or ""
    assert (report.status, report.error_code) == ("error", "MODEL_GATED")
    for code in ("MODEL_GATED", "PORT_IN_USE", "CUDA_OUT_OF_MEMORY", "GPU_UNAVAILABLE", "DISK_FULL"):
        assert f"{code}: " in message
    assert message.startswith("5 things are in the way.")
    assert "held by python train.py (pid 77) in container their-notebook (60.0 GiB)," in message


def test_an_unreachable_hub_is_no_obstacle(world: AgentWorld) -> None:
    world.hub.obstacles = {"org/model": Finding("HUB_UNREACHABLE", "down", warns_only=True)}
    world.deploy()
    world.settle()
    assert world.statuses()[-1] == "running"


def test_cached_weights_need_no_hub(world: AgentWorld) -> None:
    snapshot = world.folder / "hub/models--org--model/snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    world.hub.obstacles = {"org/model": Finding("MODEL_GATED", "the licence")}
    world.deploy()
    world.settle()
    assert world.statuses()[-1] == "running"


def test_what_passes_is_tried_again(world: AgentWorld) -> None:
    world.gpus = [Gpu(0, 80 * GIB, 70 * GIB)]
    report = refused(world, gpus=[0])
    assert (report.status, report.error_code) == ("starting", "CUDA_OUT_OF_MEMORY")
    assert "10.0 GiB of 80.0 GiB free" in (report.message or "")
    assert report.fix == Fix({"gpu_memory_utilization": 0.12})
    world.gpus = [Gpu(0, 80 * GIB, GIB)]
    world.settle(10)
    assert world.statuses()[-1] == "running"


def test_less_memory_will_do_where_less_is_asked_for(world: AgentWorld) -> None:
    world.gpus = [Gpu(0, 80 * GIB, 40 * GIB)]
    world.deploy(gpus=[0], config={"gpu_memory_utilization": 0.5})
    world.settle()
    assert world.statuses()[-1] == "running"


@pytest.mark.parametrize("told", [True, False])
def test_what_its_predecessor_holds_is_not_in_the_way(world: AgentWorld, told: bool) -> None:
    """Neither its memory, whether or not the driver tells whose it is, nor its port."""
    world.deploy(gpus=[0], config={"port": 8123})
    world.settle()
    before = world.engine.only()
    holders = (Holder(5, 72 * GIB, "vllm", before.id), Holder(6, GIB, "Xorg")) if told else ()
    world.gpus = [Gpu(0, 80 * GIB, 73 * GIB, holders)]
    world.deploy(generation=2, gpus=[0], config={"port": 8123})
    world.settle()
    assert (world.statuses()[-1], world.engine.only().generation) == ("running", 2)


def test_weights_that_do_not_fit_the_disk(world: AgentWorld) -> None:
    world.hub.bytes = 2000 * GIB
    report = refused(world)
    assert report.error_code == "DISK_FULL"
    assert "2000.0 GiB" in (report.message or "")
