"""The command that applies what a crash report proposes: `muster set qwen max_num_seqs=614`."""

from __future__ import annotations

import shlex
from typing import Any

from muster.api import messages as m
from muster.api import resources as r
from muster.cli import pairs


def command(fix: m.Fix, name: str, *, keep_env: bool = False) -> str:
    """For a shell. `keep_env`: the deployment has other variables, whose values nobody can read."""
    words = [f"{flag}={_typed(value)}" for flag, value in sorted(fix.config.items())]
    if fix.gpus:
        words += ["--gpus", str(fix.gpus)]
    for variable, value in sorted(fix.env.items()):
        words += ["--env", f"{variable}={value}"]
    if fix.env and keep_env:
        words.append("--keep-env")
    return shlex.join(["muster", "set", name, *words])


def proposed(deployment: r.Deployment) -> str | None:
    """What applies the fix of its last crash; None where there is none, or it is applied."""
    fix = deployment.last_crash.fix if deployment.last_crash else None
    if fix is None or _is_applied(fix, deployment):
        return None
    applies = command(fix, deployment.name, keep_env=bool(set(deployment.env) - set(fix.env)))
    if deployment.desired == "stopped":
        return f"{applies} && {shlex.join(['muster', 'start', deployment.name])}"
    return applies


def _is_applied(fix: m.Fix, deployment: r.Deployment) -> bool:
    """As far as can be seen: of a variable only the name can."""
    wanted = len(deployment.gpus) if isinstance(deployment.gpus, list) else deployment.gpus
    return (
        all(deployment.config.get(flag) == value for flag, value in fix.config.items())
        and fix.gpus in (None, 0, wanted)
        and set(fix.env) <= set(deployment.env)
    )


def _typed(value: Any) -> str:
    """So that `muster set` reads the same value, of the same type."""
    typed = pairs.shown(value)
    return typed if pairs.value_of(typed) == value else pairs.shown_as_json(value)
