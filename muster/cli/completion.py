"""muster completion: what a shell needs to complete commands and options. The script is click's own."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from muster.cli.shell import Shell, command

COMPLETION_VARIABLE = "_MUSTER_COMPLETE"


@command(
    "completion",
    examples="""
    eval "$(muster completion bash)"
    muster completion zsh > ~/.zfunc/_muster
    muster completion fish > ~/.config/fish/completions/muster.fish
    """,
)
@click.argument("kind", type=click.Choice(["bash", "zsh", "fish"]), metavar="bash|zsh|fish")
def completion(shell: Shell, kind: str) -> None:
    """Print the completion script of a shell.

    Evaluate it in the shell's startup file.
    """
    found = get_completion_class(kind)
    assert found is not None, "click knows all three"
    script = found(click.get_current_context().find_root().command, {}, "muster", COMPLETION_VARIABLE).source()
    shell.show({"shell": kind, "script": script}, None) if shell.json else click.echo(script)


COMMANDS = (completion,)
