"""The options that `deploy` and `set` share, and the patch that `set` sends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from muster.api import messages as m
from muster.api import resources as r
from muster.cli import pairs, text
from muster.cli.shell import USAGE, Stop

GPUS_HELP = "A count, or a list of GPU indexes (use `3,` for a single index)."


def gpus(given: str) -> r.GpuRequest:
    """A number, or a list of indexes. Raises BadParameter."""
    if re.fullmatch(r"\d{1,2}", given):
        return int(given)
    if re.fullmatch(r"\d{1,2}(,\d{1,2})*,?", given):
        return [int(index) for index in given.strip(",").split(",")]
    raise click.BadParameter(f"expected a count (2) or a list of GPU indexes (0,1 or 3,), got {given!r}")


def duration(given: str) -> int:
    """90, 90s, 10m, 2h or 3d in seconds. Raises BadParameter."""
    found = text.seconds(given)
    if not found:
        raise click.BadParameter(f"expected a duration such as 90s, 10m, 2h or 3d, got {given!r}")
    return int(found)


def options(function: Any) -> Any:
    for add in reversed(
        [
            click.option("--on", "worker", metavar="WORKER", help="Run on this worker, even if it is offline."),
            click.option("--image", help="Image to run. By default the worker's image."),
            click.option(
                "--env",
                multiple=True,
                metavar="NAME[=VALUE]",
                help="Environment variable. NAME alone takes the value from this shell. Repeatable.",
            ),
            click.option(
                "--env-from-host",
                multiple=True,
                metavar="NAME",
                help="Environment variable with the value of the worker's host, which Muster never sees. Repeatable.",
            ),
        ]
    ):
        function = add(function)
    return function


def waiting(function: Any) -> Any:
    function = click.option(
        "--timeout",
        type=duration,
        help="With --wait: such as 90s, 10m, or 2h; the deployment continues if the timeout expires.",
    )(function)
    return click.option("--wait", is_flag=True, help="Wait until the change has taken effect; show progress.")(function)


def environment(env: tuple[str, ...], from_host: tuple[str, ...], here: Mapping[str, str]) -> m.Env:
    """Raises Stop for a variable that is not set here."""
    made: m.Env = {name: m.FromHost(True) for name in from_host}
    for variable in env:
        name, equals, value = variable.partition("=")
        if not equals and name not in here:
            raise Stop(f"--env {name}: not set in this shell; give {name}=VALUE, or --env-from-host {name}", USAGE)
        made[name] = value if equals else here[name]
    return made


@dataclass(frozen=True)
class Changes:
    """The options of `muster set`. `worker` is a name; an `image` of "" is the worker's default."""

    flags: tuple[str, ...] = ()
    gpus: r.GpuRequest | None = None
    image: str | None = None
    worker: str | None = None
    env: tuple[str, ...] = ()
    env_from_host: tuple[str, ...] = ()
    replace_env: bool = False
    keep_env: bool = False


def patch(changes: Changes, found: r.Deployment, worker_id: str | None, here: Mapping[str, str]) -> r.DeploymentPatch:
    """The patch of `found` that makes `changes`; `here` are the variables of this shell. Raises UsageError, Stop."""
    made = r.DeploymentPatch()
    if changes.flags:
        made.config = _config(changes.flags, found)
    if changes.gpus is not None:
        made.gpus = changes.gpus
    if changes.image is not None:
        made.image = changes.image or None
    if worker_id is not None:
        made.worker_id = worker_id
    given = environment(changes.env, changes.env_from_host, here)
    if changes.keep_env and (changes.replace_env or not given):
        raise click.UsageError("--keep-env requires --env or --env-from-host, and excludes --replace-env")
    if changes.keep_env:
        made.add_env = given
    elif given or changes.replace_env:
        made.env = _all_of(found, given, changes.replace_env)
    if made == r.DeploymentPatch():
        raise click.UsageError("nothing to change: give FLAG=VALUE, --gpus, --image, --env, or --on")
    return made


def _config(flags: tuple[str, ...], found: r.Deployment) -> dict[str, Any]:
    """The settings of `found` with FLAG=VALUE set and FLAG- taken away."""
    removals = [flag for flag in flags if flag.endswith("-") and "=" not in flag]
    gone = {pairs.flag(flag[:-1]) for flag in removals}
    given = pairs.config(flag for flag in flags if flag not in removals)
    return {flag: value for flag, value in {**found.config, **given}.items() if flag not in gone}


def _all_of(found: r.Deployment, env: m.Env, replace: bool) -> m.Env:
    """Variables are replaced as a whole and their values cannot be read back: none may be lost unsaid. Raises Stop."""
    missing = sorted(set(found.env) - set(env) - {"VLLM_API_KEY"})
    if missing and not replace:
        which = f"{found.name} also has {', '.join(missing)}"
        raise Stop(f"{which}, which cannot be read back: give it again, or --keep-env, or --replace-env", USAGE)
    return env
