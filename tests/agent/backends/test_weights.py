"""Weights that are somebody else's are found before the start, with whose they are and what to do."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from muster_agent.backends.weights import unusable
from muster_agent.conditions import CLEARED_AFTER_SECONDS
from muster_agent.engines.base import EngineError, RunSpec
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.hub_cache import downloading
from tests.fixtures.small_disk import needs_root, read_only, small_disk


def as_nobody(model: str, hub_cache: Path) -> str:
    """What a user that owns nothing finds: the program is loaded before, since its folder may be private."""
    loaded = (
        "from muster_agent.backends.weights import unusable; import pwd; pwd.getpwuid(65534); from pathlib import Path;"
    )
    code = (
        f"{loaded} import os; os.setgid(65534); os.setuid(65534); print(unusable({model!r}, Path({str(hub_cache)!r})))"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user may enter. Each session of pytest makes the folder above `tmp_path` private again."""
    with tempfile.TemporaryDirectory(prefix="muster-weights-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def cache(public: Path) -> Path:
    """One that every user may use, with a model."""
    cache = public / "hub"
    downloading(cache, "org/model", 1000)
    for each in (cache, *cache.rglob("*")):
        each.chmod(0o777 if each.is_dir() else 0o666)
    return cache


def test_weights_that_can_be_used_are_no_trouble(cache: Path, tmp_path: Path) -> None:
    for model in ("org/model", "org/other", str(cache), str(tmp_path / "none")):
        assert unusable(model, cache) is None
    assert unusable("org/model", tmp_path / "not" / "there" / "yet") is None
    assert unusable("org/model", None) is None


@needs_root
def test_a_cache_of_somebody_else_is_told_with_its_owner_and_the_command(cache: Path) -> None:
    assert as_nobody("org/other", cache) == "None"
    cache.chmod(0o755)
    told = as_nobody("org/other", cache)
    assert told.startswith(f"{cache} belongs to root, and nobody") and "may not write it" in told
    assert f"`chown -R nobody {cache}`" in told


@needs_root
def test_a_model_that_is_there_need_not_be_written(cache: Path) -> None:
    snapshot = cache / "models--org--model" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    for each in cache.rglob("*"):
        each.chmod(0o755 if each.is_dir() else 0o644)
    cache.chmod(0o755)
    assert as_nobody("org/model", cache) == "None"
    (snapshot / "config.json").chmod(0o600)
    assert "config.json belongs to root" in as_nobody("org/model", cache)


@needs_root
def test_a_cache_in_a_folder_that_cannot_be_entered_is_told_as_well(cache: Path) -> None:
    cache.parent.chmod(0o700)
    for model in ("org/model", str(cache / "models--org--model")):
        assert "belongs to root, and nobody" in as_nobody(model, cache)


@needs_root
def test_a_file_of_somebody_else_in_a_folder_that_can_be_used_is_told_too(cache: Path) -> None:
    blob = next(each for each in cache.rglob("*") if each.is_file())
    blob.chmod(0o600)
    told = as_nobody("org/model", cache)
    assert str(blob) in told and "may not read it" in told
    assert as_nobody("org/other", cache) == "None", "which is another model's"


@needs_root
def test_a_folder_that_is_given_by_its_path_has_to_be_readable_and_no_more(public: Path) -> None:
    model = public / "model"
    model.mkdir(mode=0o755)
    (model / "model.safetensors").write_bytes(b"")
    assert as_nobody(str(model), public) == "None"
    (model / "model.safetensors").chmod(0o600)
    assert "model.safetensors belongs to root" in as_nobody(str(model), public)


@needs_root
def test_a_cache_on_a_read_only_disk_is_told_as_that(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk, read_only(disk):
        assert "is on a read-only file system: remount it" in (unusable("org/model", disk / "hub") or "")


def test_it_is_a_condition_of_what_it_holds_up_until_that_runs(world: AgentWorld) -> None:
    def fail(spec: RunSpec) -> None:
        raise EngineError("CACHE_UNUSABLE", "/data belongs to somebody")

    world.engine.on_start = fail
    world.deploy()
    world.settle(4)
    world.beat()
    (condition,) = world.server.beats[-1].conditions or []
    assert (condition.type, condition.message, condition.deployments) == (
        "WeightsUnreadable",
        "/data belongs to somebody",
        ["d1"],
    )
    world.engine.on_start = lambda spec: None
    world.settle(10, seconds=30)
    assert world.last_report().status == "running", "unaided"
    world.clock.pass_time(CLEARED_AFTER_SECONDS)
    world.settle(1)
    world.beat()
    assert world.server.beats[-1].conditions is None
