"""muster gateway: one address for all models, and a LiteLLM proxy that is kept in sync with what runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit

import click
from msgspec import UNSET, Struct

from muster.api import addresses
from muster.api import resources as r
from muster.api.addresses import Kind
from muster.api.resolving import resolve
from muster.cli import names, pairs
from muster.cli.gateway_serve import serve
from muster.cli.shell import AUTH, FAILED, INTERRUPTED, Group, Shell, Stop, command
from muster.exceptions import Unreachable
from muster.litellm import sync_plan as g
from muster.litellm.proxy import LiteLLM, LiteLLMError


class Change(Struct):
    """`model_id` is LiteLLM's."""

    change: Literal["added", "removed"]
    model_id: str


@dataclass(frozen=True)
class SyncOptions:
    """The options of `muster gateway sync`. `every` is in seconds."""

    litellm_url: str
    litellm_key: str | None
    selector: tuple[str, ...]
    name: str
    every: float
    keep_names: bool
    once: bool
    via: str | None = None
    via_key: str | None = None

    def gateway(self) -> g.Via | None:
        """Raises UsageError where one of the two options is missing."""
        if bool(self.via) != bool(self.via_key):
            raise click.UsageError("--via and --via-key belong together: the gateway, and a caller's key for it")
        return g.Via(self.via, self.via_key) if self.via and self.via_key else None

    def proxy(self, shell: Shell) -> LiteLLM:
        """Raises UsageError without a key."""
        if not self.litellm_key:
            raise click.UsageError("LiteLLM's master key is required: set LITELLM_MASTER_KEY, or give --litellm-key")
        return LiteLLM(self.litellm_url, self.litellm_key, self.name, shell.session())


@click.group(cls=Group)
def gateway() -> None:
    """One address for all models: serve it, or keep that of a LiteLLM proxy in sync."""


@command(
    "sync",
    of=gateway,
    examples="""
    muster gateway sync --litellm-url http://127.0.0.1:4000
    muster gateway sync --litellm-url http://litellm:4000 --selector site=lab --every 10
    muster gateway sync --litellm-url http://127.0.0.1:4000 --once
    muster gateway sync --litellm-url http://127.0.0.1:4000 --via https://models.example.com --via-key mst_key_…
    """,
)
@click.option("--litellm-url", required=True, envvar="LITELLM_URL", help="URL of LiteLLM's own API.")
@click.option(
    "--litellm-key",
    envvar="LITELLM_MASTER_KEY",
    help="Its master key; safer as the variable, since others can read options.",
)
@click.option("--selector", multiple=True, metavar="KEY=VALUE", help="Only models on workers with this label.")
@click.option("--name", default="muster", show_default=True, help="Owner of these models, if several sync.")
@click.option("--every", type=click.FloatRange(0.5), default=10, show_default=True, help="Seconds between two syncs.")
@click.option(
    "--keep-names", is_flag=True, help="Pass on names unresolved, for a LiteLLM in a network with other names."
)
@click.option("--once", is_flag=True, help="Synchronize once, then exit.")
@click.option("--via", metavar="URL", help="Gateway for models whose hosts LiteLLM cannot reach.")
@click.option(
    "--via-key", envvar="MUSTER_VIA_KEY", help="A caller's key for --via; safer as the variable MUSTER_VIA_KEY."
)
def sync(shell: Shell, **given: Any) -> None:
    """Add running models to LiteLLM, and remove those that no longer run.

    Models that this command did not add stay as they are. While the control plane or LiteLLM does not answer, nothing
    changes. Requires an API key with the role operator, because the models' own keys are passed on.
    """
    options = SyncOptions(**given)
    proxy, labels, via = options.proxy(shell), pairs.split(options.selector, "--selector"), options.gateway()
    told: set[str] = set()
    try:
        while True:
            try:
                errors = _step(shell, proxy, labels, told, options.keep_names, via)
            except Unreachable as error:
                if options.once:
                    raise
                errors = [error.message]
            if options.once:
                return _end(errors)
            for message in errors:
                shell.note(f"{message}; retrying in {options.every:g} s")
            shell.clock.sleep(options.every)
    except KeyboardInterrupt as error:
        raise Stop("stopped synchronizing; LiteLLM keeps its models", INTERRUPTED) from error


def _end(errors: list[str]) -> None:
    if errors:
        raise Stop("; ".join(errors), FAILED)


def _step(
    shell: Shell, proxy: LiteLLM, labels: dict[str, str], told: set[str], keep_names: bool, via: g.Via | None
) -> list[str]:
    """Synchronize once, and return the errors. `told` contains the deployments already reported as left out."""
    deployments, workers = list(shell.client.deployments()), list(shell.client.workers())
    if via is None:
        _tell_keyless(shell, deployments, told)
    is_local = addresses.of_host(urlsplit(shell.client.url).hostname or "").kind is Kind.LOOPBACK
    found = g.check(g.wanted(deployments, workers, labels, via), None if keep_names else resolve, is_local)
    _tell_left_out(shell, found, told)
    try:
        plan = g.plan(found.models, proxy.own(), found.unresolved)
    except LiteLLMError as error:
        return [str(error)]
    name_of = names.of_deployments(deployments)
    errors = []
    for model in plan.add:
        line = f"added    {model.name} at {model.api_base} ({name_of[model.deployment_id]})"
        errors += _tried(shell, partial(proxy.add, model), Change("added", model.id), line)
    for model_id in plan.delete:
        errors += _tried(shell, partial(proxy.delete, model_id), Change("removed", model_id), f"removed  {model_id}")
    return errors


def _tell_left_out(shell: Shell, found: g.Checked, told: set[str]) -> None:
    for line in (
        *found.refused.values(),
        *(f"{model.api_base} does not resolve here: LiteLLM keeps its entry" for model in found.unresolved),
    ):
        if line not in told:
            shell.note(line)
            told.add(line)


def _tried(shell: Shell, change: Callable[[], None], done: Change, line: str) -> list[str]:
    """Return the error of LiteLLM, so that the other models are still synchronized."""
    try:
        change()
    except LiteLLMError as error:
        return [str(error)]
    if shell.json:
        shell.dump_line(done)
    else:
        shell.say(line)
    return []


def _tell_keyless(shell: Shell, deployments: list[r.Deployment], told: set[str]) -> None:
    """Report deployments whose key an operator set: such a key cannot be read back, so it cannot be passed on."""
    keyless = [deployment for deployment in deployments if deployment.api_key is UNSET]
    if any(_has_made_key(deployment) for deployment in keyless):
        raise Stop("reading the models' keys requires an API key with the role operator", AUTH)
    for deployment in keyless:
        if deployment.deployment_id not in told:
            shell.note(f"{deployment.name} is left out: its VLLM_API_KEY was set by hand, and cannot be read back")
    told |= {deployment.deployment_id for deployment in keyless}


def _has_made_key(deployment: r.Deployment) -> bool:
    """Whether the control plane made the key of the instance that serves: operators can read such a key."""
    return "VLLM_API_KEY" not in deployment.env and deployment.serving_generation in (None, deployment.generation)


gateway.add_command(serve)

COMMANDS = (gateway,)
