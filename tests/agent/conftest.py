from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from muster_agent.wiring import Journal
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.journals import full_journal
from tests.fixtures.nvml import FakeNvml, compile_nvml


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on an agent's settings or a proxy in the environment that the tests were started with."""
    for name in list(os.environ):
        is_setting = name.startswith("MUSTER_") and not name.startswith("MUSTER_REQUIRE_")
        if is_setting or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def world(tmp_path: Path) -> AgentWorld:
    """An agent that has registered and beaten once."""
    made = AgentWorld(tmp_path).boot()
    made.beat()
    return made


@pytest.fixture
def boot(world: AgentWorld) -> Callable[..., AgentWorld]:
    """The agent of `world` starts again, with this --address on a host with these addresses."""

    def again(address: str | None, *addresses: str) -> AgentWorld:
        world.address, world.addresses = address, {"127.0.0.1", *addresses}
        world.restart()
        world.beat()
        return world

    return again


@pytest.fixture
def full(tmp_path: Path) -> Journal:
    """A journal on a full disk."""
    return full_journal(tmp_path)


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> FakeNvml:
    return compile_nvml(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with weights below `models`, links that stay there and that leave it, and what is private beside it."""
    for folder in ("models/good", "private"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "models/escape").symlink_to(tmp_path / "private")
    (tmp_path / "models/alias").symlink_to("good")
    return tmp_path
