"""muster deploy: a model comes up, and if it does not, why."""

from __future__ import annotations

import click

from muster.api import resources as r
from muster.cli import follow, names, pairs, wanted
from muster.cli.shell import Shell, command


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
@click.option("--name", help="What it is called here; made from the model's name where none is given.")
@click.option("--gpus", type=wanted.gpus, default="1", show_default=True, help="How many, or which: 0,1 (3, for one)")
@click.option("--set", "flags", multiple=True, metavar="FLAG=VALUE", help="A flag of vLLM. Repeatable.")
@click.option("--selector", multiple=True, metavar="KEY=VALUE", help="A label that its worker must have. Repeatable.")
@click.option("--no-restart", is_flag=True, help="Leave it when it has crashed, rather than start it again.")
@wanted.options
@wanted.waiting
def deploy(
    shell: Shell,
    model: str,
    name: str | None,
    gpus: r.GpuRequest,
    flags: tuple[str, ...],
    selector: tuple[str, ...],
    no_restart: bool,
    worker: str | None,
    image: str | None,
    env: tuple[str, ...],
    env_from_host: tuple[str, ...],
    wait: bool,
    timeout: int | None,
) -> None:
    """Run a model: a name on the hub, or a folder on the worker.

    Without --wait it only asks for it. Ctrl-C ends the waiting, not the model.
    """
    asked = r.NewDeployment(
        model=model,
        name=name,
        gpus=gpus,
        config=pairs.config(flags),
        selector=pairs.split(selector, "--selector"),
        restart="never" if no_restart else "on-failure",
        worker_id=names.worker(shell.client, worker).worker_id if worker else None,
        image=image,
        env=wanted.environment(env, env_from_host, shell.environment),
    )
    report(shell, shell.client.deploy(asked), wait, timeout)


def report(shell: Shell, deployment: r.Deployment, wait: bool, timeout: int | None) -> None:
    """How it is, now or once that was waited for, and what can be done with it."""
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
            shell.note(f"muster ps shows how it goes, muster logs -f {name} its log")
    elif deployment.endpoint:
        shell.show(deployment, f"{name} runs{where}: {deployment.endpoint}")
        if not shell.json:
            shell.note(f"Its own API takes the key that muster show {name} shows")
    else:
        shell.show(deployment, f"{name} runs{where}, for programs on that host alone: the worker has no address")


COMMANDS = (deploy,)
