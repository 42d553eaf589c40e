"""The root of the command line: all commands under one name, and how any of them ends badly."""

from __future__ import annotations

import errno
import os
import traceback
from typing import Any

import click

from muster.api.version import VERSION
from muster.cli import (
    apply,
    completion,
    credentials,
    deploy,
    deployments,
    end_undisturbed,
    events,
    explain,
    gateway,
    hosts,
    login,
    logs,
    operations,
    shell,
    top,
    workers,
)
from muster.cli.shell import Group, Shell, Stop
from muster.errors import MusterError

ADVICE = {
    "UNAUTHENTICATED": "the API key is not good (any more): muster login URL",
    "FORBIDDEN": "an admin can make a key with another role: muster keys create NAME --role operator",
    "WORKER_OFFLINE": "muster workers shows who is online",
    "DEPLOYMENT_NAME_IN_USE": "muster set changes the one that exists",
    "IMAGE_IN_USE": "muster ps shows what uses it",
    "NOT_MUSTER": "is the URL right, with its path? muster login URL",
    "UNREACHABLE": "is the URL right, and the network there? muster login URL",
    "UNAVAILABLE": "try again in a moment",
}


SECTIONS = {
    "Models": "deploy apply ps show logs events top explain stop start restart set rm",
    "Hosts": "join workers containers images pull models disk prune ops",
    "Access": "login logout tokens keys",
}


class Program(Group):
    """No error passes as a trace: those of the control plane end with their kind's code, all others with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MusterError as error:
            raise Stop(said(error), shell.exit_code(error)) from error
        except (KeyboardInterrupt, click.Abort) as error:
            end_undisturbed()
            raise Stop("interrupted", shell.INTERRUPTED) from error
        except (click.ClickException, click.exceptions.Exit):
            end_undisturbed()  # some commands say at Ctrl-C what goes on without them
            raise
        except Exception as error:  # whatever it is, people get a sentence and not a trace
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise
            if os.environ.get("MUSTER_DEBUG"):
                traceback.print_exc()
            reason = f"{type(error).__name__}: {error}; MUSTER_DEBUG=1 shows more"
            raise Stop(f"this is a mistake in muster itself, please report it ({reason})") from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        named = {name for names in SECTIONS.values() for name in names.split()}
        others = " ".join(name for name in self.list_commands(ctx) if name not in named)
        for title, names in {**SECTIONS, "More": others}.items():
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(100)) for name in names.split()])


COMMAND_OF_ROUTE = (
    ("GET /api/workers", "muster workers"),
    ("GET /api/deployments", "muster ps"),
    ("with ?force=true", "with --force"),
)
"""What the API says, as it is said here."""


def said(error: MusterError) -> str:
    """With what to do, or where that is said. For programs there is the exit code."""
    message, advice = error.message, ADVICE.get(error.error_code)
    for theirs, ours in COMMAND_OF_ROUTE:
        message = message.replace(theirs, ours)
    return f"{message} ({advice})" if advice else f"{message} [muster explain {error.error_code}]"


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="muster")
@click.pass_context
def muster(ctx: click.Context) -> None:
    """Run language models on GPU workers.

    Start with `muster login URL`. MUSTER_URL and MUSTER_API_KEY come before what login kept. Workers and models go by
    their name, or by the beginning of their id.

    \b
    Exit codes:
      0  done                    4  the key is not good, or not for this
      1  failed                  5  not in this state, or the name is taken
      2  not understood          6  unreachable, or not done in time
      3  there is no such        130  Ctrl-C
    """
    ctx.ensure_object(Shell)


for module in (
    *(deploy, apply, deployments, logs, events, top, explain),
    *(credentials, workers, hosts, operations, login, gateway, completion),
):
    for command in module.COMMANDS:
        muster.add_command(command)
