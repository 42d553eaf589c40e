"""muster-agent: makes this host a worker."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import Any, NoReturn

import click

from muster.api.messages import TUNNEL, Gateways, GpuInfo, Registration
from muster.api.structs import read_structs
from muster.api.version import VERSION
from muster.sanitize import escape_control_characters, log_to
from muster.tunnel.paths import Paths
from muster_agent.backends.mounts import AllowedMount
from muster_agent.backends.policy import TESTED_IMAGE, HostPolicy
from muster_agent.conditions import Conditions
from muster_agent.config import (
    AgentConfig,
    SettingError,
    default_state_dir,
    hub_cache,
)
from muster_agent.control.backoff import Backoff
from muster_agent.control.boot_ids import next_boot
from muster_agent.control.client import Api, Fatal, Retry
from muster_agent.control.cooldown import RegistrationCooldown
from muster_agent.control.reporter import Reporter
from muster_agent.engines import ports
from muster_agent.engines.base import Engine, EngineError
from muster_agent.gpus.devices import Devices
from muster_agent.gpus.gpu_watch import GpuWatch
from muster_agent.gpus.indexes import GpuIndexes
from muster_agent.gpus.sampler import Sampler
from muster_agent.heartbeat import HeartbeatLoop, Readings, RegistrationRejected
from muster_agent.host import facts
from muster_agent.host.boot_id import DEFAULT_ADDRESS, HostRun, docker_daemon
from muster_agent.operations.disk import disk_usage, places
from muster_agent.runner.context import HostConfig
from muster_agent.runner.listening import Listening
from muster_agent.runner.preflight import HostProbe
from muster_agent.runner.threads import spawn_thread
from muster_agent.signals import Signals
from muster_agent.state import membership
from muster_agent.state.db import Database, JournalDamaged, JournalFull
from muster_agent.state.dir import StateDir, StateError
from muster_agent.state.reserve import ReserveFile
from muster_agent.tunnel.orders import ModelTarget
from muster_agent.tunnel.settings import TunnelSettings, gateway_hosts
from muster_agent.tunnel.targets import targets
from muster_agent.tunnel.tunnel_supervisor import TunnelSupervisor
from muster_agent.wiring import Journal

log = logging.getLogger("agent")

FLUSH_SECONDS = 3.0
FIRST_GPU_SAMPLE_SECONDS = 15.0
"""Longest wait for NVIDIA's driver before the first heartbeat: without persistence mode it wakes the GPUs in turn."""
RESTART_SECONDS = 2.0
"""Pause before an agent with a damaged journal starts again: if the disk is at fault, each start may fail."""


@click.command(context_settings={"auto_envvar_prefix": "MUSTER", "max_content_width": 120})
@click.option("--url", required=True, metavar="URL", help="The control plane, e.g. https://muster.example.com")
@click.option(
    "--token",
    metavar="TOKEN",
    help="Registration token. Better in MUSTER_TOKEN, where other users of this host cannot read it. Keep it: after"
    " a loss of the state folder it brings this worker back.",
)
@click.option(
    "--name",
    metavar="NAME",
    show_default="the worker's present name; at first the host's",
    help="The worker's name, one per control plane.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_state_dir,
    show_default="/var/lib/muster-agent, or ~/.local/state/muster-agent for other users than root",
    help="The agent's own folder.",
)
@click.option(
    "--engine",
    default="docker",
    show_default=True,
    type=click.Choice(["docker", "process"]),
    help="docker, or process where this host is a container itself: runs vLLM as a child.",
)
@click.option(
    "--address",
    metavar="HOST",
    help="Where models of this worker can be reached: a name or address of this host, which models then listen at, or"
    " a URL with {port} in it that a proxy on this host serves. Without it models listen on 127.0.0.1.",
)
@click.option(
    "--rebind",
    default="restart",
    show_default=True,
    type=click.Choice(["restart", "leave"]),
    help="For models that listen at an older --address: restart moves them to the new one, leave keeps them running"
    " without an endpoint.",
)
@click.option(
    "--allow-image",
    multiple=True,
    metavar="PATTERN",
    help="Image repository that may run here; * matches anything, a tag or digest is compared too. Repeatable."
    " [default: vllm/vllm-openai]",
)
@click.option(
    "--default-image",
    default=TESTED_IMAGE,
    show_default=True,
    metavar="IMAGE",
    help="What runs where a deployment names no image: a tag, or a digest to stay with.",
)
@click.option(
    "--model-root",
    type=click.Path(path_type=Path, file_okay=False, exists=True, resolve_path=True),
    help="Folder whose weights may be deployed by path. Without it none may.",
)
@click.option(
    "--share-env",
    multiple=True,
    metavar="NAME",
    help="Environment variable that deployments may set, or take from the agent (from_host). Repeatable. Every model"
    " gets the hub's settings and HF_TOKEN.",
)
@click.option(
    "--allow-remote-code",
    is_flag=True,
    help="Let deployments choose code that models run, and other hosts that they talk to. As processes, models can do"
    " what the agent's user can. Without it, models bring code (trust_remote_code) in containers only.",
)
@click.option(
    "--allow-mount",
    multiple=True,
    metavar="DIRECTORY[:ro]",
    help="Folder of which deployments may mount anything into their containers; with :ro they may only read it."
    " Repeatable. Without it they mount none but --model-root.",
)
@click.option(
    "--allow-entrypoint",
    is_flag=True,
    help="Let deployments run another program of their image than its own entry point.",
)
@click.option(
    "--allow-host-network",
    is_flag=True,
    help="Let deployments put their container on this host's network, where it reaches what listens on 127.0.0.1.",
)
@click.option(
    "--tunnel/--no-tunnel",
    default=True,
    show_default=True,
    help="Serve this host's models to gateways through connections that the agent opens.",
)
@click.option(
    "--allow-gateway",
    multiple=True,
    metavar="HOST",
    help="Gateway that the agent may dial. Repeatable. Without it, every gateway that the control plane names.",
)
@click.option(
    "--tunnel-path",
    multiple=True,
    metavar="PATH",
    help="Path of a model that gateways may ask for, beside the inference paths of OpenAI's API. Repeatable.",
)
@click.option(
    "--drain",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0, 3600),
    metavar="SECONDS",
    help="How long requests that are under way may take before their model is stopped.",
)
@click.option("--vllm-command", default="vllm serve", show_default=True, help="How the process engine starts vLLM.")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="A label of this worker. Repeatable.")
@click.option("--insecure", is_flag=True, help="Allow plain http to a control plane that is not on this host.")
@click.option(
    "--rejoin",
    is_flag=True,
    help="End parking: register again, with the registration token, under --name or the host's present name.",
)
@click.option("--forget-gpus", is_flag=True, help="Forget GPUs that are no longer in this host.")
@click.version_option(VERSION)
def main(**options: Any) -> None:
    """Make this host a worker: register it, run what it is asked to, report how that goes.

    Each option is also a variable: MUSTER_URL, MUSTER_TOKEN, MUSTER_STATE_DIR and so on. Models go on running when the
    agent ends, and are adopted when it starts again.

    `muster-agent doctor` looks for what would keep this host from it, and says what to mend.
    """
    log_to(sys.stderr, "%(asctime)s %(levelname)s %(message)s")
    # Models are children of this process, or are given variables of it: the agent's credential is not among them.
    os.environ.pop("MUSTER_TOKEN", None)
    try:
        config = AgentConfig.from_options(options)
    except SettingError as error:
        raise click.ClickException(str(error)) from error
    run(config)


@dataclass(frozen=True)
class _Opened:
    """An agent's state folder and journal, opened; its name as a worker; the host that it works on."""

    state: StateDir
    journal: Journal
    name: str
    host: HostConfig
    tunnels: TunnelSupervisor


def run(config: AgentConfig) -> None:
    """Run the agent until a signal. Raises ClickException if it cannot start, is refused, or loses its state folder."""
    try:
        opened = _open(config)
    except (SettingError, StateError, EngineError) as error:
        raise click.ClickException(str(error)) from error
    registration = _registration(config, opened)
    try:
        _run(config, opened, registration)
    except JournalDamaged as error:
        log.error(
            "%s: this agent starts again, which keeps what is left of it and begins a new one",
            escape_control_characters(str(error)),
        )
        _start_again(config.token)


def _open(config: AgentConfig) -> _Opened:
    """Raises SettingError, StateError, EngineError."""
    state = StateDir(config.state_dir.absolute())
    journal = Journal.checked(Database(state.path / "journal.sqlite3", ReserveFile(state.path / "reserve")))
    if config.rejoin:
        membership.rejoin(journal.database, state)
    name = membership.prepare(
        journal.database, state, name=config.name, hostname=socket.gethostname(), token=config.token
    )
    host_run = _host_run(config)
    journal.deployments_table.begin_run(host_run())
    engine = _engine(config, state.path, journal)
    tunnels = TunnelSupervisor(_tunnel_settings(config), time.monotonic, Backoff(SystemRandom()))
    host = _host(config, state, journal.database, engine, host_run, tunnels)
    return _Opened(state, journal, name, host, tunnels)


def _host_run(config: AgentConfig) -> HostRun:
    address = os.environ.get("DOCKER_HOST") or DEFAULT_ADDRESS
    return HostRun(lambda: docker_daemon(address)) if config.engine == "docker" else HostRun()


def _tunnel_settings(config: AgentConfig) -> TunnelSettings:
    """Raises SettingError."""
    try:
        Paths(config.tunnel_path)
    except ValueError as error:
        raise SettingError("--tunnel-path", str(error)) from error
    return TunnelSettings(
        config.tunnel, gateway_hosts(config.allow_gateway), config.tunnel_path, config.drain, config.insecure
    )


def _host(
    config: AgentConfig,
    state: StateDir,
    database: Database,
    engine: Engine,
    host_run: HostRun,
    tunnels: TunnelSupervisor,
) -> HostConfig:
    policy = _policy(config)
    conditions = Conditions(time.monotonic)
    devices = Devices(_gpu_indexes(database))
    return HostConfig(
        engine=engine,
        policy=policy,
        listening=Listening(config.address, conditions, rebind=config.rebind),
        host_env=policy.environment(os.environ),
        state_dir=state.path,
        free_port=ports.free_port,
        disk=lambda: disk_usage(places(engine, state.path, policy)),
        conditions=conditions,
        run=host_run,
        devices=devices,
        host_probe=HostProbe(gpus=devices.gpus, driver=devices.driver),
        drain=tunnels.drain,
    )


def _policy(config: AgentConfig) -> HostPolicy:
    return HostPolicy(
        allow_images=config.allow_image or HostPolicy.allow_images,
        model_root=config.model_root,
        hub_cache=hub_cache(os.environ),
        default_image=config.default_image,
        share_env=config.share_env,
        allow_remote_code=config.allow_remote_code,
        allow_mounts=tuple(AllowedMount(path, is_read_only) for path, is_read_only in config.allow_mount),
        allow_entrypoint=config.allow_entrypoint,
        allow_host_network=config.allow_host_network,
    )


def _registration(config: AgentConfig, opened: _Opened) -> Registration:
    boot_id, past_boot_ids = next_boot(opened.journal.database)
    return Registration(
        name=opened.name,
        token=config.token or "",
        gpu_info=GpuInfo(0),  # replaced by what the sampler has found when the agent registers
        system_info=facts.system_info(),
        machine_id=facts.machine_id(opened.state.path),
        boot_id=boot_id,
        past_boot_ids=past_boot_ids or None,
        agent_version=VERSION,
        labels=dict(config.label) or None,
        address=config.address,
        features=[TUNNEL] if config.tunnel else None,
    )


def _start_again(token: str | None) -> NoReturn:
    """Replace the program in this process, which ends the threads that hold the old journal.

    The process stays, since models that run as processes are its children.
    """
    time.sleep(RESTART_SECONDS)
    if token:
        os.environ["MUSTER_TOKEN"] = token
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _gpu_indexes(database: Database) -> GpuIndexes:
    """The indexes of this host's GPUs, which outlive the agent."""

    def save(text: str) -> None:
        with contextlib.suppress(JournalFull):  # the indexes then last for this process only
            database.set_meta(gpus=text)

    return GpuIndexes(lambda: database.meta("gpus"), save)


def _engine(config: AgentConfig, state_dir: Path, journal: Journal) -> Engine:
    """Imported late: a host without Docker needs no Docker library, and the other way round. Raises SettingError."""
    if config.engine == "docker":
        from muster_agent.engines.docker import DockerEngine

        return DockerEngine(lambda: journal.database.meta("worker_id"))
    from muster_agent.engines.process.process_engine import ProcessEngine

    try:
        command = tuple(shlex.split(config.vllm_command))
    except ValueError as error:
        raise SettingError("--vllm-command", str(error)) from error
    if not command or shutil.which(command[0]) is None:
        raise SettingError("--vllm-command", f"{config.vllm_command!r}: there is no such program on the PATH")
    return ProcessEngine(state_dir, command)


def _run(config: AgentConfig, opened: _Opened, registration: Registration) -> None:
    """Until a signal. Ends with 1 where the control plane will not have this worker at all, or its state is gone."""
    read_structs()
    host, journal = opened.host, opened.journal
    signals = Signals()
    gpus = GpuWatch(host.devices, host.conditions, host.clocks.monotonic, forget_gone=config.forget_gpus)
    sampler = Sampler(host.disk, gpus)
    sampler.start()
    if not sampler.wait(FIRST_GPU_SAMPLE_SECONDS):
        log.warning("NVIDIA's driver does not answer: this host joins without its GPUs, until it does")
    readings = Readings(sampler.latest, lambda: gpus.info)
    agent = HeartbeatLoop(
        Api(config.url), registration, host, journal, opened.state, readings, on_gateways=opened.tunnels.offer
    )
    reporter = Reporter(Api(config.url), journal.outbox, agent, host.random, host.conditions, host.clocks)
    refusal = RegistrationCooldown(journal.database, config.url, registration.name, registration.token)
    agent.start()
    spawn_thread("reporter", reporter.run)
    opened.tunnels.start(partial(_models, agent), partial(_renewed, Api(config.url), agent), spawn_thread)
    pause = refusal.pause(host.clocks.moment()) if agent.runtime is None else 0.0
    if pause:
        log.warning("the control plane refused this worker; it is asked again in %.0f s, or at once by --rejoin", pause)
        signals.wait(pause)
    try:
        agent.run(time.monotonic, signals.wait)
    except RegistrationRejected as error:
        refusal.note(host.clocks.moment())
        raise click.ClickException(
            f"the control plane did not take this worker: {escape_control_characters(str(error))}"
        ) from error
    except JournalDamaged:  # a StateError that does not end the agent: main starts it again
        raise
    except StateError as error:
        raise click.ClickException(str(error)) from error
    log.info("ending; models go on running")
    opened.tunnels.close()
    if agent.runtime is not None:
        agent.runtime.close()
    if agent.identity is not None:
        reporter.flush(FLUSH_SECONDS)
    agent.goodbye()
    with contextlib.suppress(JournalFull, JournalDamaged):  # at worst a command counts one attempt more
        journal.deployments_table.forgive()


def _models(agent: HeartbeatLoop, before: Mapping[str, ModelTarget]) -> dict[str, ModelTarget]:
    """The models that gateways may be sent to."""
    runtime = agent.runtime
    return targets(runtime.context, runtime.manager.runners, before) if runtime is not None else {}


def _renewed(api: Api, agent: HeartbeatLoop) -> Gateways | None:
    """New tickets; None where there are none, for a reason that the heartbeat meets too."""
    identity = agent.identity
    if identity is None:
        return None
    try:
        return api.gateways(identity.worker_id, identity.token)
    except (Retry, Fatal) as error:
        log.info("no new tickets for gateways: %s", error)
        return None


def program() -> None:
    """`muster-agent`: the agent itself, unless the first word says otherwise."""
    if sys.argv[1:2] == ["doctor"]:
        from muster_agent.doctor import doctor

        doctor(sys.argv[2:], prog_name="muster-agent doctor")
    main()
