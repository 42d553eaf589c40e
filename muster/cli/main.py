"""The root of the command line: all commands, and how an error ends the program."""

from __future__ import annotations

import errno
import os
from typing import Any

import click

from muster.api.version import VERSION
from muster.cli import end_undisturbed, shell
from muster.cli.commands import SECTIONS, Commands
from muster.cli.shell import Group, Shell, Stop
from muster.exceptions import MusterError

ADVICE = {
    "UNAUTHENTICATED": "the API key is not valid, or was revoked: muster login URL",
    "FORBIDDEN": "an admin can create a key with another role: muster keys create NAME --role operator",
    "WORKER_OFFLINE": "muster workers shows which workers are online",
    "DEPLOYMENT_NAME_IN_USE": "muster set changes the existing deployment",
    "IMAGE_IN_USE": "muster ps lists the deployments",
    "NOT_MUSTER": "check the URL and its path: muster login URL",
    "UNREACHABLE": "check the URL and the network: muster login URL",
    "UNAVAILABLE": "try again in a moment",
}


class Program(Group):
    """No error passes as a trace: an error of the control plane has an exit code of its kind, any other error has 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MusterError as error:
            raise Stop(said(error), shell.exit_code(error)) from error
        except (KeyboardInterrupt, click.Abort) as error:
            end_undisturbed()
            raise Stop("interrupted", shell.INTERRUPTED) from error
        except ModuleNotFoundError:  # of a command: `program` says which part is not installed
            raise
        except (click.ClickException, click.exceptions.Exit):
            end_undisturbed()  # some commands say at Ctrl-C what goes on without them
            raise
        except Exception as error:  # whatever it is, people get a sentence and not a trace
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise
            if os.environ.get("MUSTER_DEBUG"):
                import traceback

                traceback.print_exc()
            reason = f"{type(error).__name__}: {error}; MUSTER_DEBUG=1 shows the traceback"
            raise Stop(f"internal error in muster, please report it ({reason})") from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])


COMMAND_OF_ROUTE = (
    ("GET /api/workers", "muster workers"),
    ("GET /api/deployments", "muster ps"),
    ("with ?force=true", "with --force"),
)
"""Phrases of the API's messages, and the commands that replace them here."""


def said(error: MusterError) -> str:
    """The error's message, with advice or with the command that explains the error."""
    message, advice = error.message, ADVICE.get(error.error_code)
    for theirs, ours in COMMAND_OF_ROUTE:
        message = message.replace(theirs, ours)
    return f"{message} ({advice})" if advice else f"{message} [muster explain {error.error_code}]"


@click.group(
    cls=Program, commands=Commands(), context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(VERSION, prog_name="muster")
@click.pass_context
def muster(ctx: click.Context) -> None:
    """Run language models on GPU workers.

    Start with `muster login URL`. MUSTER_URL and MUSTER_API_KEY take precedence over the stored login. Commands accept
    the name of a worker or deployment, or the beginning of its id.

    \b
    Exit codes:
      0  success                 4  authentication or permission error
      1  failure                 5  conflict
      2  usage error             6  unreachable, or timeout
      3  not found               130  interrupted (Ctrl-C)
    """
    ctx.ensure_object(Shell)
