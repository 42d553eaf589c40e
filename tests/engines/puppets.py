"""What the real engines' rigs share: puppets on strings, which are files in a folder of each."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.engines import Engine, Instance, Mount, RunSpec
from agent.labels import instance_name
from tests.engines.suite import any_port, eventually

SCRIPT = Path(__file__).with_name("puppet.sh")


class Puppets:
    """`image` is None for an engine without images."""

    def __init__(self, engine: Engine, folder: Path, image: str | None = None) -> None:
        self.engine = engine
        self._folder = folder
        self._image = image
        self._ports: dict[str, int] = {}

    def spec(
        self, deployment_id: str = "d1", generation: int = 1, worker_id: str = "w1", stubborn: bool = False
    ) -> RunSpec:
        name = instance_name(deployment_id, generation)
        strings = self._strings(name)
        strings.mkdir(exist_ok=True)
        self._ports.setdefault(name, any_port())
        return RunSpec(
            name=name,
            worker_id=worker_id,
            deployment_id=deployment_id,
            generation=generation,
            model="org/model",
            image=self._image,
            arguments=(str(strings),),
            env={"STUBBORN": "1"} if stubborn else {},
            gpus=(),
            bind="127.0.0.1",
            port=self._ports[name],
            mounts=(Mount(strings, str(strings), read_only=False),),
        )

    def say(self, instance: Instance, text: bytes) -> None:
        self._pull(instance, "say", text)
        last = text.decode(errors="replace").splitlines()[-1]
        eventually(lambda: last in self.engine.logs(instance.id, 1, None).text)

    def die(self, instance: Instance, exit_code: int) -> None:
        self._pull(instance, "die", b"%d\n" % exit_code)
        eventually(lambda: any(each.id == instance.id and each.state == "exited" for each in self.engine.instances()))
        (self._strings(instance.name) / "die").unlink()

    def hog(self, instance: Instance) -> None:
        """Makes it take memory until it is killed for that."""
        self._pull(instance, "hog", b"")
        eventually(lambda: any(each.id == instance.id and each.state == "exited" for each in self.engine.instances()))

    @contextmanager
    def occupied(self, port: int) -> Iterator[None]:
        with socket.create_server(("127.0.0.1", port)):
            yield

    def clear(self) -> None:
        for each in self.engine.instances():
            if each.name in self._ports:
                self.engine.stop(each.id, 0)
                self.engine.remove(each.id)

    def _strings(self, name: str) -> Path:
        return self._folder / name

    def _pull(self, instance: Instance, string: str, content: bytes) -> None:
        """Renamed into place, so that the puppet never reads half of it."""
        fresh = self._strings(instance.name) / f"{string}.new"
        fresh.write_bytes(content)
        fresh.rename(fresh.with_name(string))
