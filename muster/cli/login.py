"""muster login, muster logout: check and store the control plane and the API key."""

from __future__ import annotations

import sys

import click
from msgspec import Struct

from muster.cli import account
from muster.cli.shell import AUTH, USAGE, Shell, Stop, command
from muster.exceptions import AuthError

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
@click.option("--insecure", is_flag=True, help="Allow plain HTTP to a control plane on another machine.")
def login(shell: Shell, url: str, insecure: bool) -> None:
    """Store a control plane's URL and an API key, after checking them.

    Reads the key from a prompt or from standard input: on the command line it would stay in the shell's history. An
    admin creates keys with `muster keys create`; a control plane prints its first key when it starts.
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
        raise Stop(f"{place} does not accept this API key; nothing was stored", AUTH) from error
    kept = account.keep(wanted, shell.environment)
    shell.show(Login(place, version, role, str(kept)), f"Logged in to {place} as {role}. Stored in {kept}.")
    if shell.environment.get("MUSTER_URL") or shell.environment.get("MUSTER_API_KEY"):
        shell.note("MUSTER_URL or MUSTER_API_KEY is set, and takes precedence.")


@command("logout", examples="muster logout")
def logout(shell: Shell) -> None:
    """Delete the stored login. The key stays valid until `muster keys revoke`."""
    place = account.forget(shell.environment)
    shell.show({"forgotten": str(place)}, f"Deleted {place}.")


def _read_key() -> str:
    if sys.stdin.isatty():
        return str(click.prompt(KEY_PROMPT, hide_input=True, err=True))
    return sys.stdin.readline()


COMMANDS = (login, logout)
