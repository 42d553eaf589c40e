"""muster login, muster logout: which control plane, tried before it is kept."""

from __future__ import annotations

import sys

import click
from msgspec import Struct

from muster.cli import account
from muster.cli.shell import AUTH, USAGE, Shell, Stop, command
from muster.errors import AuthError

KEY_PROMPT = "API key"


class Login(Struct):
    url: str
    version: str
    role: str
    kept_in: str


@command(
    "login",
    examples="""
    muster login https://muster.example.com
    muster login https://muster.example.com < key.txt
    muster login http://10.0.0.5:8000 --insecure
    """,
)
@click.argument("url")
@click.option("--insecure", is_flag=True, help="Allow plain http to a control plane that is not on this machine.")
def login(shell: Shell, url: str, insecure: bool) -> None:
    """Keep a control plane's URL and an API key, after trying them.

    The key is asked for, or read from standard input: on the command line it would stay in the shell's history. An
    admin makes one with `muster keys create`; the first is printed when a control plane starts.
    """
    try:
        place = account.check_url(url, insecure)
        key = account.check_key(_read_key())
        wanted = account.Account(place, key, insecure)
    except account.AccountError as error:
        raise Stop(str(error), USAGE) from error
    client = shell.connect(wanted)
    version = client.health().version
    try:
        role = client.whoami().role
    except AuthError as error:
        raise Stop(f"{place} does not take this API key; nothing was kept", AUTH) from error
    kept = account.keep(wanted, shell.environment)
    shell.show(Login(place, version, role, str(kept)), f"Logged in to {place} as {role}. Kept in {kept}.")
    if shell.environment.get("MUSTER_URL") or shell.environment.get("MUSTER_API_KEY"):
        shell.note("MUSTER_URL or MUSTER_API_KEY is set here, and comes before it.")


@command("logout", examples="muster logout")
def logout(shell: Shell) -> None:
    """Forget what `muster login` kept. The key stays good: `muster keys revoke` ends it."""
    place = account.forget(shell.environment)
    shell.show({"forgotten": str(place)}, f"Forgot {place}.")


def _read_key() -> str:
    if sys.stdin.isatty():
        return str(click.prompt(KEY_PROMPT, hide_input=True, err=True))
    return sys.stdin.readline()


COMMANDS = (login, logout)
