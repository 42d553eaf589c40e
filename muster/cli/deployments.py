"""muster show, stop, start, restart, set, rm: show and change existing deployments."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from muster.api import crash_loops
from muster.api import resources as r
from muster.api.lifecycle import LIVE, Status
from muster.cli import attention, confirm, fix_command, follow, names, pairs, text, wanted, workers
from muster.cli.deploy import report
from muster.cli.ps import endpoint_of, gpus_of, status_of
from muster.cli.shell import CONFLICT, Shell, Stop, command


@command("show", examples="muster show qwen\nmuster show e1fc10ee -o json\nmuster show gpu-1")
@click.argument("name")
def show(shell: Shell, name: str) -> None:
    """Show a deployment: flags, status, conditions, endpoint, and last crash.

    If no deployment has the name, shows the worker with the name.
    """
    found = names.deployment_or_worker(shell.client, name)
    if isinstance(found, r.Worker):
        return workers.detail(shell, found)
    if shell.json:
        return shell.dump(found)
    now = shell.wall()
    facts = _facts(found, names.of_workers(shell.client), now)
    shell.say(*(f"{what:<12}{value}" for what, value in facts.items() if value))
    hint = crash_loops.advice(found.crash_loop, found.name) if found.crash_loop else None
    if hint:
        shell.say("", text.line(f"{hint}."))
    attention.section(shell, found.conditions, now)
    if found.last_crash:
        crash = found.last_crash
        shell.say("", f"Last crash, {text.ago(crash.at, now)} ago: {crash.error_code}: {crash.message}")
        follow.crash(shell, found, asked_for=True)
        fix = fix_command.proposed(found)
        if fix:
            shell.say("", text.line(f"The proposed fix: {fix}"))
    follow.explained(shell, found)


def _facts(found: r.Deployment, workers: dict[str, str], now: datetime) -> dict[str, str | None]:
    worker = workers.get(found.worker_id or "", found.worker_id)
    key = found.api_key if isinstance(found.api_key, str) else None
    return {
        "name": found.name,
        "id": found.deployment_id,
        "model": found.model,
        "status": status_of(found, now),
        "says": found.message,
        "worker": worker,
        "gpus": gpus_of(found),
        "endpoint": f"none: {found.endpoint_problem}" if found.endpoint_problem else endpoint_of(found),
        "serves": _older(found),
        "api key": key if found.status is Status.RUNNING or found.serving_generation is not None else None,
        "called": found.served_model_name,
        "flags": " ".join(f"{name}={pairs.shown(value)}" for name, value in sorted(found.config.items())),
        "image": found.image,
        "env": ", ".join(found.env),
        "selector": ", ".join(f"{name}={value}" for name, value in sorted(found.selector.items())),
        "restart": found.restart,
        "age": text.ago(found.created_at, now),
    }


def _older(found: r.Deployment) -> str | None:
    """What serves while a change is prepared."""
    if found.serving_generation in (None, found.generation):
        return None
    return f"generation {found.serving_generation}, until generation {found.generation} takes its place"


# Changing it


@command("stop", examples="muster stop qwen\nmuster stop qwen --wait")
@click.argument("name")
@wanted.waiting
def stop(shell: Shell, name: str, wait: bool, timeout: int | None) -> None:
    """Stop a deployment. `muster start` starts it again with the same settings."""
    found = names.deployment(shell.client, name)
    report(shell, shell.client.stop(found.deployment_id), wait, timeout)


@command("start", examples="muster start qwen --wait")
@click.argument("name")
@wanted.waiting
def start(shell: Shell, name: str, wait: bool, timeout: int | None) -> None:
    """Start a deployment that is stopped or in error."""
    found = names.deployment(shell.client, name)
    report(shell, shell.client.start(found.deployment_id), wait, timeout)


@command("restart", examples="muster restart qwen --wait")
@click.argument("name")
@wanted.waiting
def restart(shell: Shell, name: str, wait: bool, timeout: int | None) -> None:
    """Replace the container of a deployment, whatever its status."""
    found = names.deployment(shell.client, name)
    report(shell, shell.client.restart(found.deployment_id), wait, timeout)


@command(
    "set",
    examples="""
    muster set qwen max_model_len=2048 gpu_memory_utilization=0.8
    muster set qwen enforce_eager- --gpus 2 --wait
    muster set qwen --env NCCL_P2P_DISABLE=1 --keep-env
    muster set qwen --on gpu-2 --image vllm/vllm-openai:v0.11.0
    """,
)
@click.argument("name")
@click.argument("flags", nargs=-1, metavar="[FLAG=VALUE | FLAG-]...")
@click.option("--gpus", type=wanted.gpus, help=wanted.GPUS_HELP)
@click.option("--replace-env", is_flag=True, help="Remove the variables that are not given.")
@click.option("--keep-env", is_flag=True, help="Keep the variables that are not given.")
@wanted.options
@wanted.waiting
def set_(shell: Shell, name: str, wait: bool, timeout: int | None, **options: Any) -> None:
    """Change a deployment, and replace its container.

    A stopped deployment has the change at its next start. FLAG- removes a flag.
    """
    found = names.deployment(shell.client, name)
    changes = wanted.Changes(**options)
    worker_id = names.worker(shell.client, changes.worker).worker_id if changes.worker else None
    patch = wanted.patch(changes, found, worker_id, shell.environment)
    report(shell, shell.client.change(found.deployment_id, patch), wait, timeout)


@command("rm", examples="muster rm qwen\nmuster rm qwen --stop --yes")
@click.argument("name")
@click.option("--stop", is_flag=True, help="Stop the deployment first, if it runs.")
@confirm.option
def rm(shell: Shell, name: str, stop: bool, yes: bool) -> None:
    """Delete a deployment that is stopped or in error. Its weights and images stay on the worker."""
    found = names.deployment(shell.client, name)
    if found.status in LIVE:
        _require_online(shell, found)
        if not stop:
            raise Stop(f"{found.name} is {found.status}: muster rm {found.name} --stop stops it first", CONFLICT)
        confirm.ask(shell, yes, f"Stop and delete {found.name}?")
        follow.deployment(shell, shell.client.stop(found.deployment_id), None)
    shell.show(shell.client.delete(found.deployment_id), f"{found.name} is deleted")


def _require_online(shell: Shell, found: r.Deployment) -> None:
    """Raise Stop if the deployment's worker is offline: then no report can confirm that the deployment stopped."""
    worker = shell.client.worker(found.worker_id) if found.worker_id else None
    if worker is not None and worker.status == "offline":
        raise Stop(
            f"{found.name} is {found.status}, and its worker {worker.name} is offline, so nothing can confirm the stop."
            f" If the host does not come back: muster workers lost {worker.name}, then muster rm {found.name}",
            CONFLICT,
        )


COMMANDS = (show, stop, start, restart, set_, rm)
