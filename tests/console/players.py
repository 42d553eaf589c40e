"""Workers that are played: they speak the protocol over HTTP as agents do, with GPUs that nobody has to own."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.fixtures.http_client import Json
from tests.fixtures.http_workers import GIB, Agent


@dataclass(frozen=True)
class Machine:
    """`gpus` devices of `memory` GiB; `foreign` maps a device to what something else holds of it, in GiB."""

    name: str
    gpu: str
    gpus: int
    memory: int
    labels: Mapping[str, str] = field(default_factory=dict)
    foreign: Mapping[int, int] = field(default_factory=dict)
    images: tuple[str, ...] = ("vllm/vllm-openai:v0.32.0",)


@dataclass
class Model:
    """How a deployment goes there: it is reported up to `reach`, at `progress`, and uses `share` of its devices."""

    reach: str = "running"
    share: float = 0.88
    busy: int = 60
    progress: Json = None
    message: str | None = None


PATH = ("downloading", "starting", "running")


class Player(Agent):
    """One worker. `models` says by name how a deployment goes; one that is not named there just runs."""

    def __init__(self, url: str, token: str, machine: Machine, models: Mapping[str, Model]) -> None:
        super().__init__(url, token, name=machine.name, gpus=machine.gpus)
        self.machine, self.models = machine, models
        self.held: dict[str, tuple[str, list[int], int]] = {}
        self.names: Mapping[str, str] = {}
        self.random = random.Random(machine.name)
        self.gone = False
        self._turning = threading.Lock()
        self.pruned: list[Json] = []

    def registration(self, **more: Json) -> Json:
        device = {"name": self.machine.gpu, "memory_total": self.machine.memory * GIB}
        extra = {"driver_version": "580.95.05", "cuda_version": "13.0"}
        devices = [{"index": index} | device | extra for index in range(self.gpus)]
        system = {"hostname": self.name, "cpu_count": 64, "memory_total": 512 * GIB, "os": "Debian GNU/Linux 12"}
        body = {"gpu_info": {"count": self.gpus, "devices": devices}, "system_info": system}
        return super().registration(labels=dict(self.machine.labels), address=f"{self.name}.example", **body, **more)

    def heartbeat(self, *active: str, **more: Json) -> Json:
        usage = [self._usage(index) for index in range(self.gpus)]
        disk = {"total": 3840 * 10**9, "used": 1470 * 10**9, "free": 2370 * 10**9, "percent": 38.3}
        images = [
            {"id": f"sha256:{index:064x}", "tags": [tag], "size": 18_700_000_000, "created": "2026-10-02T11:20:00Z"}
            for index, tag in enumerate(self.machine.images)
        ]
        return super().heartbeat(*self.held, gpu_usage=usage, disk=disk, images=images, **more)

    def _usage(self, index: int) -> Json:
        total, used, busy = self.machine.memory * GIB, self.machine.foreign.get(index, 0) * GIB, 0
        for name, gpus, _ in self.held.values():
            model = self.models.get(name, Model())
            if index in gpus and model.reach in ("running", "starting"):
                used = int(model.share * total) if model.reach == "running" else int(0.31 * total)
                busy = max(0, min(100, model.busy + self.random.randint(-9, 9))) if model.reach == "running" else 3
        if index in self.machine.foreign:
            busy = 30 + self.random.randint(0, 20)
        return {"index": index, "memory_used": used, "utilization": busy}

    def leave(self) -> None:
        """Say goodbye, and nothing after it: a heartbeat that is still under way would undo it."""
        with self._turning:
            self.gone = True
            self.goodbye()

    def turn(self) -> None:
        """One heartbeat, and what it brings."""
        with self._turning:
            if not self.gone:
                self._turn()

    def _turn(self) -> None:
        for command in self.commands():
            if command["type"] == "deploy":
                self._deploy(command)
            elif command["type"] == "stop":
                self.held.pop(command["deployment_id"], None)
                for status in ("stopping", "stopped"):
                    self.say(command["deployment_id"], status, command["generation"])
            else:
                self.result(command["command_id"], output=self._output(command))

    def _deploy(self, command: Json) -> None:
        deployment_id, generation = command["deployment_id"], command["generation"]
        name = self.names.get(deployment_id, "")
        model = self.models.get(name, Model())
        self.held[deployment_id] = (name, command["gpus"], generation)
        for status in PATH[: PATH.index(model.reach) + 1]:
            last = status == model.reach
            more: Json = {"progress": model.progress} if last and model.progress else {}
            more |= {"message": model.message} if last and model.message else {}
            if status != "downloading":
                more |= {"container_id": f"{generation:x}", "port": 20000}
            self.say(deployment_id, status, generation, **more)

    def _output(self, command: Json) -> Json:
        running = [
            {
                "id": f"{generation:x}",
                "name": f"muster-{deployment_id}-g{generation}",
                "image": self.machine.images[0],
                "state": "running",
                "ours": True,
                "deployment_id": deployment_id,
                "generation": generation,
            }
            for deployment_id, (_, _, generation) in self.held.items()
        ]
        if command["type"] == "list_containers":
            return {"containers": running, "gpus": [self._look(index) for index in range(self.gpus)]}
        if command["type"] == "list_models":
            sizes = {"meta-llama/Llama-3.3-70B-Instruct": 141_107_412_000, "Qwen/Qwen3-32B": 65_524_246_528}
            return {"models": [{"model": model, "size": size} for model, size in sizes.items()]}
        if command["type"] == "prune":
            self.pruned.append(command)
            kept = [{"what": self.machine.images[0], "bytes": 18_700_000_000, "why": "a deployment uses it"}]
            return {"space_reclaimed": 37_400_000_000, "kept": kept}
        return {"logs": f"INFO:     Application startup complete on {self.name}.\n", "next_since": "1"}

    def _look(self, index: int) -> Json:
        usage = self._usage(index)
        holders = [f"{generation:x}" for _, gpus, generation in self.held.values() if index in gpus]
        ours = [{"pid": 4000 + index, "memory": usage["memory_used"], "name": "VLLM", "container": h} for h in holders]
        theirs = [
            {"pid": 900, "memory": n * GIB, "name": "python"} for at, n in self.machine.foreign.items() if at == index
        ]
        return usage | {"temperature": 58 + index, "power": 410.0 + 9 * index, "processes": [*ours, *theirs]}


class Fleet:
    """All of them, played in turns by one thread. `every`: seconds between turns."""

    def __init__(self, players: list[Player], every: float = 1.0) -> None:
        self.players, self.every = players, every
        self.names: dict[str, str] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def start(self) -> None:
        for player in self.players:
            player.names = self.names
            player.register()
            player.turn()
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def leave(self, name: str) -> None:
        """That one says goodbye."""
        (player,) = (each for each in self.players if each.name == name)
        player.leave()

    def _play(self) -> None:
        while not self._over.wait(self.every):
            for player in self.players:
                player.turn()
