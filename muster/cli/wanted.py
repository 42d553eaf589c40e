"""What a model should be like, as options: deploy and set take the same ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import click

from muster.api import messages as m
from muster.api import resources as r
from muster.cli import text
from muster.cli.shell import USAGE, Stop


def gpus(given: str) -> r.GpuRequest:
    """A number, or a list of indexes. Raises BadParameter."""
    if re.fullmatch(r"\d{1,2}", given):
        return int(given)
    if re.fullmatch(r"\d{1,2}(,\d{1,2})*,?", given):
        return [int(each) for each in given.strip(",").split(",")]
    raise click.BadParameter(f"expected how many (2) or which (0,1 or 3,), got {given!r}")


def duration(given: str) -> int:
    """90, 90s, 10m, 2h or 3d in seconds. Raises BadParameter."""
    found = text.seconds(given)
    if not found:
        raise click.BadParameter(f"expected a duration such as 90s, 10m, 2h or 3d, got {given!r}")
    return int(found)


def options(function: Any) -> Any:
    for add in reversed(
        [
            click.option("--on", "worker", metavar="WORKER", help="On this worker, even while it is offline."),
            click.option("--image", help="The image to run in; the worker's default where none is given."),
            click.option(
                "--env",
                multiple=True,
                metavar="NAME[=VALUE]",
                help="A variable of the model; NAME alone takes the value that it has here. Repeatable.",
            ),
            click.option(
                "--env-from-host",
                multiple=True,
                metavar="NAME",
                help="A variable that has the value of the worker's host, which Muster never sees. Repeatable.",
            ),
        ]
    ):
        function = add(function)
    return function


def waiting(function: Any) -> Any:
    function = click.option(
        "--timeout", type=duration, help="With --wait: how long, as 90s, 10m or 2h; it goes on all the same."
    )(function)
    return click.option("--wait", is_flag=True, help="Until it is so, showing how far it is.")(function)


def environment(env: tuple[str, ...], from_host: tuple[str, ...], here: Mapping[str, str]) -> m.Env:
    """Raises Stop for a variable that is not set here."""
    made: m.Env = {name: m.FromHost(True) for name in from_host}
    for each in env:
        name, equals, value = each.partition("=")
        if not equals and name not in here:
            raise Stop(f"--env {name}: it is not set here; give {name}=VALUE, or --env-from-host {name}", USAGE)
        made[name] = value if equals else here[name]
    return made
