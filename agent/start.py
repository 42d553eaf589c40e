"""From a deploy command to an instance: the owner's veto, the port, the start, the question whether it is ready."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from threading import Lock

from agent.engines import Engine, EngineError, Instance, RunSpec
from agent.health import Probe
from agent.inventory import Inventory
from agent.policy import HostPolicy
from agent.vllm import PORTS, desired_port, refusal, run_spec, served_model_name
from chalicelib.contract.messages import Deploy

FreePort = Callable[[int | None, str, Collection[int]], int]


@dataclass(frozen=True)
class Starter:
    """`bind` is the address that models listen at; `free_port` is host.free_port."""

    engine: Engine
    inventory: Inventory
    policy: HostPolicy
    worker_id: str
    bind: str
    host_env: Mapping[str, str] = field(repr=False)
    free_port: FreePort
    # Two starts at once would be given the same free port.
    _one_at_a_time: Lock = field(default_factory=Lock)

    def missing_image(self, command: Deploy) -> str | None:
        """The image to pull first.

        Raises EngineError REFUSED_BY_HOST or INVALID_CONFIG before anything is fetched or ended for it.
        """
        refused = refusal(command, self.policy, self.engine.uses_images)
        if refused is not None:
            raise EngineError("REFUSED_BY_HOST", refused)
        self._spec(command, desired_port(command) or PORTS[0])
        if not self.engine.uses_images:
            return None
        image = command.image or self.policy.default_image
        return None if self.engine.has_image(image) else image

    def start(self, command: Deploy, last_port: int | None) -> Instance:
        """On the port that is asked for, else on `last_port` if it is free, so that an endpoint outlives a crash.

        Raises EngineError.
        """
        with self._one_at_a_time:
            instance = self.engine.start(self._spec(command, self._port(command, last_port)))
            self.inventory.changed()
            return instance

    def is_ready(self, command: Deploy, instance: Instance, probe: Probe) -> bool:
        if instance.port is None:
            return False
        key = command.env.get("VLLM_API_KEY")
        if key is not None and not isinstance(key, str):
            key = self.host_env.get("VLLM_API_KEY")
        return probe(instance.bind or self.bind, instance.port, served_model_name(command), key)

    def _spec(self, command: Deploy, port: int) -> RunSpec:
        return run_spec(
            command,
            worker_id=self.worker_id,
            bind=self.bind,
            port=port,
            policy=self.policy,
            host_env=self.host_env,
            uses_images=self.engine.uses_images,
        )

    def _port(self, command: Deploy, last_port: int | None) -> int:
        self.inventory.changed()
        taken = {each.port for each in self.inventory.instances() if each.port is not None and each.state != "exited"}
        wanted = desired_port(command)
        if wanted is None and last_port is not None:
            try:
                return self.free_port(last_port, self.bind, taken)
            except EngineError:
                # It was only a preference.
                pass
        return self.free_port(wanted, self.bind, taken)
