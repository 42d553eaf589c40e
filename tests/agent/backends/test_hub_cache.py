"""The weights in the cache: what is listed, and what is deleted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from muster.api.messages import CachedModel, Deleted
from muster_agent.backends.hub_cache import cached_models, delete_model
from muster_agent.engines.base import EngineError
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.hub_cache import cache


def test_each_model_is_listed_with_the_bytes_of_its_blobs(world: AgentWorld) -> None:
    cache(world.folder / "hub", "org/model", 10)
    cache(world.folder / "hub", "gpt2", 20)
    (world.folder / "hub" / "models--elsewhere").symlink_to("/")
    (world.folder / "hub" / ".locks" / "models--gpt2").mkdir(parents=True)
    models = world.ask("list_models")["output"]["models"]
    assert {each["model"]: each["size"] for each in models} == {"gpt2": 20, "org/model": 10}


@pytest.mark.parametrize(
    "model", ["..", "../../etc", "/etc", "", ".locks", "models--gpt2", "gpt2/../gpt2", "elsewhere"]
)
def test_delete_model_stays_in_the_cache(tmp_path: Path, model: str) -> None:
    (tmp_path / "hub" / "models--gpt2").mkdir(parents=True)
    (tmp_path / "away").mkdir()
    (tmp_path / "hub" / "models--elsewhere").symlink_to(tmp_path / "away")
    with pytest.raises(Exception, match="no weights"):
        delete_model(tmp_path / "hub", model)
    assert (tmp_path / "away").exists()
    assert [each.model for each in cached_models(tmp_path / "hub")] == ["gpt2"]


def test_a_cache_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert cached_models(tmp_path / "hub") == []
    with pytest.raises(EngineError) as raised:
        delete_model(tmp_path / "hub", "gpt2")
    assert raised.value.error_code == "MODEL_NOT_FOUND"


def test_only_the_bytes_of_blobs_count_and_a_download_that_broke_off_is_among_them(tmp_path: Path) -> None:
    folder = cache(tmp_path, "org/model", 10)
    (folder / "blobs" / "def.incomplete").write_bytes(b"x" * 5)
    (folder / "blobs" / "link").symlink_to(folder / "blobs" / "abc")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    (tmp_path / "models--empty").mkdir()
    assert cached_models(tmp_path) == [CachedModel("empty", 0), CachedModel("org/model", 15)]


def test_names_that_a_model_could_have_written_are_passed_over(tmp_path: Path) -> None:
    cache(tmp_path, "gpt2", 1)
    for name in (b"models--a\n", b"models--\x1b[2J", b"models--\xff", b"datasets--gpt2"):
        (tmp_path / os.fsdecode(name)).mkdir()
    (tmp_path / "models--file").write_text("")
    assert [each.model for each in cached_models(tmp_path)] == ["gpt2"]


def test_a_deleted_model_takes_its_locks_with_it_and_no_other_model(tmp_path: Path) -> None:
    kept, gone = cache(tmp_path, "org/model", 10), cache(tmp_path, "gpt2", 20)
    locks = tmp_path / ".locks" / "models--gpt2"
    locks.mkdir(parents=True)
    assert delete_model(tmp_path, "gpt2") == Deleted(["gpt2"])
    assert (kept.exists(), gone.exists(), locks.exists()) == (True, False, False)
