"""The engine of these tests, held to what the real ones are held to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from agent.engines import Engine, Instance, RunSpec
from agent.policy import TESTED_IMAGE
from chalicelib.contract.messages import Image
from tests.fixtures.engine_suite import EngineSuite, Rig
from tests.fixtures.memory_engine import MemoryEngine

IMAGE = TESTED_IMAGE


@dataclass
class MemoryRig:
    memory: MemoryEngine
    ports: Iterator[int] = field(default_factory=lambda: iter(range(20000, 30000)))

    def __post_init__(self) -> None:
        if self.memory.uses_images:
            self.memory.pulled[IMAGE] = Image("sha256:1", [IMAGE], 1000, "2024-01-01T00:00:00Z")
        self.memory.first_words = "ready"

    @property
    def engine(self) -> Engine:
        return self.memory

    def spec(
        self, deployment_id: str = "d1", generation: int = 1, worker_id: str = "w1", stubborn: bool = False
    ) -> RunSpec:
        return RunSpec(
            name=f"muster-{deployment_id}-g{generation}",
            worker_id=worker_id,
            deployment_id=deployment_id,
            generation=generation,
            model="org/model",
            image=IMAGE if self.memory.uses_images else None,
            arguments=("org/model",),
            env={},
            gpus=(),
            bind="127.0.0.1",
            port=next(self.ports),
        )

    def say(self, instance: Instance, text: bytes) -> None:
        for line in text.split(b"\n")[:-1]:
            self.memory.say(instance.id, line)

    def die(self, instance: Instance, exit_code: int) -> None:
        self.memory.die(instance.id, exit_code)

    @contextmanager
    def occupied(self, port: int) -> Iterator[None]:
        self.memory.taken_ports.add(port)
        yield
        self.memory.taken_ports.remove(port)

    def reopened(self) -> Engine:
        return self.memory


@pytest.fixture(params=[True, False], ids=["images", "no images"])
def rig(request: pytest.FixtureRequest) -> Rig:
    return MemoryRig(MemoryEngine(uses_images=request.param))


class TestMemoryEngine(EngineSuite):
    pass
