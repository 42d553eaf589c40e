"""muster apply: show the plan that makes the running models match a file, then carry it out."""

from __future__ import annotations

from typing import Any, TextIO

import click
from msgspec import Struct

from muster.api import resources as r
from muster.api.lifecycle import LIVE
from muster.cli import confirm, follow, names
from muster.cli.plan import FileError, Step, Verb, plan, read
from muster.cli.shell import USAGE, Shell, Stop, command

SIGNS: dict[Verb, str] = {"create": "+", "change": "~", "replace": "±", "start": "▶", "stop": "■", "keep": "="}


class Planned(Struct):
    name: str
    action: Verb
    why: list[str]
    deployment_id: str | None


class Applied(Struct):
    plan: list[Planned]
    deployments: list[r.Deployment]


@command(
    "apply",
    examples="""
    muster apply -f models.yaml
    muster apply -f models.yaml --dry-run
    muster apply -f models.yaml --yes --wait
    git show HEAD:models.yaml | muster apply -f - --yes
    """,
)
@click.option("-f", "--file", type=click.File(encoding="utf-8"), required=True, help="YAML file; - is standard input.")
@click.option("--dry-run", is_flag=True, help="Only show the plan.")
@click.option("--send-env", is_flag=True, help="Send environment variables again: only their names can be compared.")
@click.option("--wait", is_flag=True, help="Wait until the changes have taken effect; show progress.")
@confirm.option
def apply(shell: Shell, file: TextIO, dry_run: bool, send_env: bool, wait: bool, yes: bool) -> None:
    """Make the running models match a file. Deployments that the file does not name stay as they are.

    \b
    models:
      qwen:
        model: Qwen/Qwen3-0.6B
        gpus: 1                       # or indexes: [0, 1]
        config: {max_model_len: 4096}

    Also: worker, selector, image, env, restart, state (docs/cli.md).
    """
    try:
        wanted = read(file.read())
    except (FileError, UnicodeError) as error:
        raise Stop(f"{file.name}: {error}", USAGE) from error
    client = shell.client
    workers = {model.worker: names.worker(client, model.worker).worker_id for model in wanted.values() if model.worker}
    found = {deployment.name: deployment for deployment in client.deployments()}
    steps = plan(wanted, found, workers, send_env=send_env)
    others = len(found.keys() - wanted.keys())
    todo = [step for step in steps if step.verb != "keep"]
    if not shell.json:
        _show(shell, steps, others)
    done: list[r.Deployment] = []
    if todo and not dry_run:
        confirm.ask(shell, yes, f"Apply this plan ({len(todo)})?")
        done = [_do(shell, step) for step in todo]
        if wait:
            done = [follow.deployment(shell, deployment, None) for deployment in done]
    if shell.json:
        planned = [
            Planned(step.name, step.verb, list(step.why), step.found.deployment_id if step.found else None)
            for step in steps
        ]
        shell.dump(Applied(planned, done))
    elif todo and not dry_run:
        shell.say("Done: muster ps shows the progress." if not wait else "Done.")


def _show(shell: Shell, steps: list[Step], others: int) -> None:
    for step in steps:
        shell.say(f"{SIGNS[step.verb]} {step.verb:<8}{step.name}" + (f"  ({'; '.join(step.why)})" if step.why else ""))
    if all(step.verb == "keep" for step in steps):
        shell.say("Nothing to do.")
    if others:
        shell.note(f"{others} more, which the file does not name, stay as they are")


def _do(shell: Shell, step: Step) -> r.Deployment:
    client, id_ = shell.client, step.found.deployment_id if step.found else ""
    actions: dict[Verb, Any] = {
        "create": lambda: client.deploy(step.new),
        "change": lambda: client.change(id_, step.patch),
        "replace": lambda: _replace(shell, step),
        "start": lambda: client.start(id_),
        "stop": lambda: client.stop(id_),
    }
    done: r.Deployment = actions[step.verb]()
    if step.verb != "stop" and step.wanted.state == "stopped" and done.desired == "running":
        done = client.stop(done.deployment_id)
    if step.verb == "change" and step.wanted.state == "running" and done.desired == "stopped":
        done = client.start(done.deployment_id)
    if not shell.json:
        shell.say(f"{SIGNS[step.verb]} {step.name}: {done.status}")
    return done


def _replace(shell: Shell, step: Step) -> r.Deployment:
    """For a change that no patch can make: the name is free only after the old deployment has ended."""
    found = step.found
    assert found is not None
    if found.status in LIVE:
        found = follow.deployment(shell, shell.client.stop(found.deployment_id), None)
    shell.client.delete(found.deployment_id)
    return shell.client.deploy(step.new)


COMMANDS = (apply,)
