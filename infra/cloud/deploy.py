"""A stage of the control plane in an AWS account: made, brought up to date, taken away again.

    python -m infra.cloud.deploy deploy --stage prod
    python -m infra.cloud.deploy admin-key --stage prod
    python -m infra.cloud.deploy destroy --stage prod

The data has a stack of its own, which comes first and stays when the application goes. Every step does what is left to
do, so that whatever was interrupted is finished by the same command. What happens is told on standard error; the URL
and the key are on standard output.
"""

from __future__ import annotations

import functools
import json
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.routes import wheels
from infra.cloud import keys, wheel
from infra.cloud.artefacts import Bucket, with_code
from infra.cloud.errors import Interrupted, Misuse, explained
from infra.cloud.names import STAGE
from infra.cloud.session import Account
from infra.cloud.stacks import Stack, Stacks
from infra.cloud.stage_data import Tell, data_stack, first_key, show, sign_in, upload_wheels

PROJECT = Path(__file__).resolve().parents[2]
URL = "EndpointURL"
"""The application's output that has it."""

Build = Callable[[str, Path, bool], Path]
"""Packages a stage into a folder: data.json, app.json and deployment.zip. The last is whether it is a REST API."""


@dataclass(frozen=True)
class Uploaded:
    """A packaged stage in the bucket: its templates' URLs, what the application asks for, and what is known of that."""

    data_url: str
    app_url: str
    asked: list[str]
    known: dict[str, str | None]

    def parameters(self, kept: Stack) -> dict[str, str | None]:
        """The application's, as far as they are known here or said by the data stack."""
        known = {**self.known, **kept.outputs}
        return {name: known.get(name) for name in self.asked}


@dataclass(frozen=True)
class DeployOptions:
    """The options of `deploy` besides those of every command."""

    rest: bool
    alarm_topic: str | None
    data_only: bool
    dry_run: bool


def stage_name(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if value == "local":
        raise click.BadParameter("local is `make serve`, on this machine; a stage in AWS needs another name")
    if not re.fullmatch(STAGE, value):
        raise click.BadParameter("expected 2 to 20 of a-z, 0-9 and -, the first a letter: make deploy STAGE=prod")
    return value


def command(function: Callable[..., None]) -> Callable[..., None]:
    """What every command takes, and how it ends when AWS does not do what it should."""

    @click.option("--stage", callback=stage_name, required=True, help="Its name, such as prod.")
    @click.option("--account", metavar="NUMBER", help="Refuse to touch any other account.")
    @functools.wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> None:
        try:
            function(*arguments, **options)
        except (BotoCoreError, ClientError) as error:
            raise explained(error) from error
        except KeyboardInterrupt:
            raise Interrupted("interrupted; run the same command again, and it does what is left") from None

    return wrapped


@click.group()
def main() -> None:
    """Muster in AWS."""


@main.command()
@click.pass_obj
@command
@click.option("--rest", is_flag=True, help="A REST API in the place of an HTTP API, which is cheaper.")
@click.option("--alarm-topic", metavar="ARN", help="The SNS topic that hears of alarms; stays until another is given.")
@click.option("--data-only", is_flag=True, help="The data and the first key; the application is left to chalice.")
@click.option("--dry-run", is_flag=True, help="Show what would change in the stacks that there are.")
def deploy(build: Build, stage: str, account: str | None, **given: Any) -> None:
    """Make the stage, or bring it up to date."""
    options = DeployOptions(**given)
    tell = Tell()
    where = sign_in(account, tell)
    stacks = Stacks(where.client("cloudformation"), tell)
    for name in (data_stack(stage), _app(stage)):
        stacks.refuse_if_busy(stacks.look(name))
    uploaded = _upload(build, where, stage, options, tell)
    if options.dry_run:
        _preview(stacks, stage, uploaded, tell)
        return
    tell.step(f"Data: stack {data_stack(stage)}")
    kept = stacks.put(data_stack(stage), uploaded.data_url, {}, holds_data=True)
    url = ""
    if not options.data_only:
        tell.step(f"Application: stack {_app(stage)}")
        running = stacks.put(_app(stage), uploaded.app_url, uploaded.parameters(kept), holds_data=False)
        url = running.outputs[URL].rstrip("/")
    made = first_key(where, stacks, stage, tell)
    if url:
        click.echo(f"URL            {url}")
    show(made)
    if options.data_only:
        tell(f"The application: .venv/bin/chalice deploy --stage {stage}")


@main.command("admin-key")
@command
def admin_key(stage: str, account: str | None) -> None:
    """Make another admin key, where all are lost."""
    tell = Tell()
    where = sign_in(account, tell)
    stacks = Stacks(where.client("cloudformation"), tell)
    if not stacks.look(data_stack(stage)).exists:
        raise Misuse(f"there is no stage {stage} in this account and region: make deploy STAGE={stage} makes it")
    made = keys.another(where, stacks.tables(data_stack(stage)))
    click.echo(f"Admin API key  {made.key}\nKeep it; it is not shown again.")
    tell(f"Its name is {made.name!r}. A lost one still opens everything, so revoke it: `muster keys` lists them,")
    tell("`muster keys revoke NAME` ends one.")


@main.command()
@command
def destroy(stage: str, account: str | None) -> None:
    """Delete the application; the data stays."""
    tell = Tell()
    where = sign_in(account, tell)
    stacks = Stacks(where.client("cloudformation"), tell)
    tell(f"This deletes the stack {_app(stage)}, the API and its functions: nobody gets an answer any more,")
    tell("and what is deployed again later has another URL, unless it has a name of yours.")
    if click.prompt("The stage's name, to go on", err=True) != stage:
        raise Misuse(f"that is not {stage}: nothing was deleted")
    if not stacks.delete(_app(stage)):
        tell(f"there is no stack {_app(stage)}: nothing to delete")
    tell(
        f"The data is kept, in the stack {data_stack(stage)}: make deploy STAGE={stage} makes the application over it."
    )
    tell("How to delete it for good: docs/cloud.md, Destroy.")


def _app(stage: str) -> str:
    return f"muster-{stage}-app"


def _template(folder: Path, name: str) -> dict[str, Any]:
    template: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return template


def _upload(build: Build, where: Account, stage: str, options: DeployOptions, tell: Tell) -> Uploaded:
    """Package the stage into the account's bucket."""
    bucket = Bucket(where)
    tell.step(f"Bucket {bucket.name}")
    tell("made: private, encrypted, versioned" if bucket.ensure() else "is there")
    upload_wheels(bucket, tell)
    tell.step(f"Packaging {stage}")
    own = wheel.ensure()
    bucket.put_wheels(own.parent, filter(None, [wheels.own(own.parent)]))  # the archive has a note in its place
    folder = build(stage, PROJECT / "build" / stage, options.rest)
    data_url = bucket.put_template(stage, _template(folder, "data"))
    key = bucket.put_archive(stage, folder / "deployment.zip")
    app = with_code(_template(folder, "app"), bucket.name, key)
    known: dict[str, str | None] = {"CodeBucket": bucket.name, "CodeKey": key, "AlarmTopic": options.alarm_topic}
    return Uploaded(data_url, bucket.put_template(stage, app), list(app.get("Parameters", {})), known)


def _preview(stacks: Stacks, stage: str, uploaded: Uploaded, tell: Tell) -> None:
    stacks.preview(data_stack(stage), uploaded.data_url, {})
    kept = stacks.look(data_stack(stage))
    if kept.exists:
        stacks.preview(_app(stage), uploaded.app_url, uploaded.parameters(kept))
    else:
        tell(f"{_app(stage)}: comes after {data_stack(stage)}, with what that says")


def run(build: Build) -> None:
    """The process. Ctrl-C ends it in order, also where the parent process ignores SIGINT, as `nohup` may."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(obj=build)


if __name__ == "__main__":
    from infra.cloud.package import build

    run(build)
