"""The weights in the cache: what is listed, and what is deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.models import cached_models, delete_model
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
