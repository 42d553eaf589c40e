"""muster gateway: a LiteLLM proxy that always has the models that run here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import click
from msgspec import UNSET

from chalicelib.contract import resources as r
from muster import gateway as g
from muster.cli import pairs
from muster.cli.main import muster
from muster.cli.shell import AUTH, FAILED, INTERRUPTED, Group, Shell, Stop, command
from muster.errors import Unreachable
from muster.litellm import LiteLLM, LiteLLMError


@muster.group(cls=Group)
def gateway() -> None:
    """One address for all models: keep a LiteLLM proxy in step."""


@command(
    gateway,
    "sync",
    examples="""
    muster gateway sync --litellm-url http://127.0.0.1:4000
    muster gateway sync --litellm-url http://litellm:4000 --selector site=lab --every 10
    muster gateway sync --litellm-url http://127.0.0.1:4000 --once
    """,
)
@click.option("--litellm-url", required=True, envvar="LITELLM_URL", help="Where LiteLLM's own API is.")
@click.option("--litellm-key", required=True, envvar="LITELLM_MASTER_KEY", help="Better by LITELLM_MASTER_KEY.")
@click.option("--selector", multiple=True, metavar="KEY=VALUE", help="Only models on workers with this label.")
@click.option("--name", default="muster", show_default=True, help="Whose these models are, if several sync.")
@click.option("--every", type=click.FloatRange(0.5), default=10, show_default=True, help="Seconds between two looks.")
@click.option("--once", is_flag=True, help="Bring it in step and end.")
def sync(
    shell: Shell,
    litellm_url: str,
    litellm_key: str,
    selector: tuple[str, ...],
    name: str,
    every: float,
    once: bool,
) -> None:
    """Add what runs to LiteLLM, and take away what does not.

    Models that it did not add itself stay as they are. While the control plane or LiteLLM does not answer, nothing
    is changed. It takes an operator's key, since it hands on the models' own keys.
    """
    labels, proxy = pairs.split(selector, "--selector"), LiteLLM(litellm_url, litellm_key, name, shell.session())
    told: set[str] = set()
    try:
        while True:
            errors = _step(shell, proxy, labels, told)
            if once and errors:
                raise Stop("; ".join(errors), FAILED)
            if once:
                return
            for error in errors:
                shell.note(f"{error}; it is tried again in {every:g} s")
            shell.clock.sleep(every)
    except KeyboardInterrupt as error:
        raise Stop("not in step any more; what LiteLLM has stays there", INTERRUPTED) from error


def _step(shell: Shell, proxy: LiteLLM, labels: dict[str, str], told: set[str]) -> list[str]:
    """One look at both sides, and what did not work. `told` are the deployments that were said to be left out."""
    try:
        deployments, workers = list(shell.client.deployments()), list(shell.client.workers())
        _tell_keyless(shell, deployments, told)
        plan = g.plan(g.wanted(deployments, workers, labels), proxy.own())
    except (Unreachable, LiteLLMError) as error:
        return [str(error)]
    names = {each.deployment_id: each.name for each in deployments}
    errors = []
    for model in plan.add:
        line = f"added    {model.name} at {model.api_base} ({names[model.deployment_id]})"
        errors += _tried(shell, line, partial(proxy.add, model))
    for model_id in plan.delete:
        errors += _tried(shell, f"removed  {model_id}", partial(proxy.delete, model_id))
    return errors


def _tried(shell: Shell, line: str, change: Callable[[], None]) -> list[str]:
    """A model that LiteLLM refuses is in no other's way."""
    try:
        change()
    except LiteLLMError as error:
        return [str(error)]
    shell.say(line)
    return []


def _tell_keyless(shell: Shell, deployments: list[r.Deployment], told: set[str]) -> None:
    """A key that an operator chose cannot be read back, so nobody can hand it on."""
    keyless = [each for each in deployments if each.api_key is UNSET]
    if any("VLLM_API_KEY" not in each.env for each in keyless):
        raise Stop("models' keys are shown to operators alone: use an operator's API key", AUTH)
    for each in keyless:
        if each.deployment_id not in told:
            shell.note(f"{each.name} is left out: its VLLM_API_KEY was set by hand, and cannot be read back")
    told |= {each.deployment_id for each in keyless}
