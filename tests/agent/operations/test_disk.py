"""Every folder that fills up is told, with the disk that holds it, and in a heartbeat when there is news."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from muster.api.messages import Disk, DiskPath, GpuUsage
from muster_agent.backends.policy import HostPolicy
from muster_agent.operations.disk import disk_usage, places
from tests.fixtures.agent_world import DISK, AgentWorld
from tests.fixtures.memory_engine import MemoryEngine


def test_disk_usage_lists_every_folder_with_its_purpose(tmp_path: Path) -> None:
    policy = HostPolicy(hub_cache=tmp_path / "not" / "yet", model_root=tmp_path)
    usage = disk_usage(places(MemoryEngine(), tmp_path / "state", policy))
    assert usage.paths is not None
    assert [(each.path, each.purpose) for each in usage.paths] == [
        ("/", "images"),
        (f"{tmp_path}/state", "state"),
        (f"{tmp_path}/not/yet", "models"),
        (str(tmp_path), "weights"),
    ]
    assert all(0 < each.free <= each.total for each in usage.paths)
    assert usage.paths[0].total == usage.total


class Filling(AgentWorld):
    used = 40

    def _sample(self) -> tuple[list[GpuUsage], Disk | None]:
        return [], replace(DISK, paths=[DiskPath("/", "images", 100, self.used, 100 - self.used)])


def test_a_heartbeat_has_the_paths_when_there_is_news(tmp_path: Path) -> None:
    world = Filling(tmp_path)
    world.boot()
    for used in (40, 40, 41, 41):
        world.used = used
        world.beat()
    told = [each.disk.paths for each in world.server.beats if each.disk]
    assert [paths[0].used if paths else None for paths in told] == [40, None, 41, None]
