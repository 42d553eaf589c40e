"""muster deploy: create a deployment; with --wait, show its progress or its failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from muster.api import resources as r
from muster.cli import follow, names, pairs, wanted
from muster.cli.shell import Shell, command


@dataclass(frozen=True)
class Options:
    """The options of `muster deploy`. `worker` is the name of a worker."""

    name: str | None
    gpus: r.GpuRequest
    flags: tuple[str, ...]
    selector: tuple[str, ...]
    no_restart: bool
    worker: str | None
    image: str | None
    env: tuple[str, ...]
    env_from_host: tuple[str, ...]

    def request(self, model: str, variables: Mapping[str, str]) -> r.NewDeployment:
        """The request without a worker; `variables` are those of this shell. Raises UsageError, Stop."""
        return r.NewDeployment(
            model=model,
            name=self.name,
            gpus=self.gpus,
            config=pairs.config(self.flags),
            selector=pairs.split(self.selector, "--selector"),
            restart="never" if self.no_restart else "on-failure",
            image=self.image,
            env=wanted.environment(self.env, self.env_from_host, variables),
        )


@command(
    "deploy",
    examples="""
    muster deploy Qwen/Qwen3-0.6B --wait
    muster deploy meta-llama/Llama-3.1-8B-Instruct --name llama --set max_model_len=8192 --env HF_TOKEN
    muster deploy Qwen/Qwen3-32B --gpus 2 --set tensor_parallel_size=2 --on gpu-1 --wait --timeout 30m
    muster deploy /models/mine --gpus 0,1 --selector zone=a -o json
    """,
)
@click.argument("model")
@click.option("--name", help="Name of the deployment. By default made from the model's name.")
@click.option("--gpus", type=wanted.gpus, default="1", show_default=True, help=wanted.GPUS_HELP)
@click.option("--set", "flags", multiple=True, metavar="FLAG=VALUE", help="vLLM flag. Repeatable.")
@click.option("--selector", multiple=True, metavar="KEY=VALUE", help="Label that the worker must have. Repeatable.")
@click.option("--no-restart", is_flag=True, help="Do not restart the deployment after a crash.")
@wanted.options
@wanted.waiting
def deploy(shell: Shell, model: str, wait: bool, timeout: int | None, **given: Any) -> None:
    """Deploy a model: a name on the hub, or a folder on the worker.

    Without --wait, returns as soon as the request is accepted. Ctrl-C ends the wait; the deployment continues.
    """
    options = Options(**given)
    asked = options.request(model, shell.environment)
    if options.worker:
        asked.worker_id = names.worker(shell.client, options.worker).worker_id
    report(shell, shell.client.deploy(asked), wait, timeout)


def report(shell: Shell, deployment: r.Deployment, wait: bool, timeout: int | None) -> None:
    """Show the deployment's status, after waiting if `wait` is set, and the next commands."""
    if wait or timeout:
        deployment = follow.deployment(shell, deployment, timeout)
    name = deployment.name
    worker = names.worker_of(shell.client, deployment)
    where = f" on {worker.name}" if worker else ""
    if deployment.status != "running" or deployment.desired != "running":
        shell.show(deployment, f"{name} is {deployment.status}{where}")
        if not shell.json and deployment.worker_id is None and deployment.message:
            shell.note(deployment.message)
        if not shell.json and deployment.desired == "running":
            shell.note(f"muster ps shows the progress, muster logs -f {name} the log")
    elif deployment.endpoint:
        shell.show(deployment, f"{name} runs{where}: {deployment.endpoint}")
        if not shell.json:
            shell.note(f"The endpoint requires the API key that muster show {name} shows")
    else:
        shell.show(deployment, f"{name} runs{where}, reachable only from its host: the worker has no address")


COMMANDS = (deploy,)
