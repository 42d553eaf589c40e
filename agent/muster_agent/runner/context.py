"""What the parts of an agent share: the host that they work on, and the tables and caches of the worker that it is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random, SystemRandom

from muster.api.messages import Disk
from muster_agent.backends.policy import HostPolicy
from muster_agent.conditions import Conditions
from muster_agent.engines.base import Engine, Instance
from muster_agent.engines.ports import FreePort
from muster_agent.gpus.devices import Devices
from muster_agent.host.boot_id import HostRun
from muster_agent.host.clocks import Clocks
from muster_agent.logs.archive import Archive
from muster_agent.logs.redaction import Secrets
from muster_agent.runner.instances import InstanceCache
from muster_agent.runner.listening import Listening
from muster_agent.runner.preflight import HostProbe
from muster_agent.runner.probes import HttpProbe, Probe
from muster_agent.runner.pulls import RETRY_PAUSES_SECONDS, Pulls
from muster_agent.runner.threads import Spawn, spawn_thread
from muster_agent.state.deployments import DeploymentsTable
from muster_agent.state.operations import OperationsTable

Drain = Callable[[str, Callable[[], bool]], None]
"""Lets requests to an instance (its id) finish before it is stopped; returns early once the second argument is true."""


def nothing_to_drain(instance: str, cancelled: Callable[[], bool]) -> None:
    """No requests reach the host's models by way of the agent."""


@dataclass(frozen=True)
class HostConfig:
    """The host of an agent: its engine, the owner's settings, and its clocks. `host_env` may hold secrets.

    `disk` samples the disk that fills up.
    """

    engine: Engine
    policy: HostPolicy
    listening: Listening
    host_env: Mapping[str, str] = field(repr=False)
    state_dir: Path
    free_port: FreePort
    disk: Callable[[], Disk]
    conditions: Conditions
    clocks: Clocks = field(default_factory=Clocks)
    random: Random = field(default_factory=SystemRandom)
    probe: Probe = field(default_factory=HttpProbe)
    host_probe: HostProbe = field(default_factory=HostProbe)
    devices: Devices = field(default_factory=Devices)
    run: Callable[[], str] = field(default_factory=HostRun)
    spawn: Spawn = spawn_thread
    pull_pauses: Sequence[float] = RETRY_PAUSES_SECONDS
    drain: Drain = nothing_to_drain


@dataclass(frozen=True)
class WorkerContext:
    """What every part that acts for the worker `worker_id` works with; `past_workers` are the ids it had before."""

    host: HostConfig
    worker_id: str
    past_workers: Collection[str]
    deployments_table: DeploymentsTable
    operations_table: OperationsTable
    instance_cache: InstanceCache
    archive: Archive
    pulls: Pulls
    secrets: Secrets
    may_start: Callable[[], bool]

    def is_own(self, instance: Instance) -> bool:
        """Whether the instance is of this worker, under its id of today or an earlier one."""
        return instance.worker_id in (self.worker_id, *self.past_workers)
