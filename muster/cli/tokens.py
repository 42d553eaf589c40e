"""muster tokens, muster keys, muster join: registration tokens for hosts, API keys for people and programs."""

from __future__ import annotations

import shlex
from datetime import datetime
from urllib.parse import urlsplit

import click
from msgspec import UNSET, Struct

from muster.api import resources as r
from muster.cli import names, text, wanted
from muster.cli.account import is_loopback
from muster.cli.output import Cell
from muster.cli.shell import Group, Shell, command

ROLES = ("viewer", "operator", "admin", "gateway", "caller")


# Registration tokens


@click.group(cls=Group, default="list")
def tokens() -> None:
    """Registration tokens, with which hosts join: list, create, revoke."""


@command("list", of=tokens, examples="muster tokens\nmuster tokens list -o json")
def list_tokens(shell: Shell) -> None:
    """List the registration tokens."""
    found = list(shell.client.registration_tokens())
    now = shell.wall()
    shell.table(
        r.RegistrationTokens(found),
        "id name uses expires for",
        [_token_row(token, now) for token in found],
        "No tokens: muster join creates one, with the command to run on a host.",
    )


def _token_row(token: r.RegistrationToken, now: datetime) -> tuple[Cell, ...]:
    kinds = [name for name in ("takeover", "ephemeral", "revoked") if getattr(token, name)]
    expires = "never" if token.expires_at is None else "expired"
    if token.expires_at and token.expires_at > now:
        expires = f"in {text.ago(now, token.expires_at)}"
    return names.short(token.token_id), token.name, f"{token.uses}/{token.max_uses}", expires, ", ".join(kinds)


@command(
    "create",
    of=tokens,
    examples="""
    muster tokens create --name rack-4 --uses 8 --expires 2h
    TOKEN=$(muster tokens create -o json | jq -r .token)
    """,
)
@click.option("--name", help="Name of the token.")
@click.option("--uses", default=1, show_default=True, help="Number of hosts that may join with the token.")
@click.option("--expires", type=wanted.duration, default="1d", show_default=True, help="After 90s, 10m, 2h or 3d.")
@click.option("--ephemeral", is_flag=True, help="Remove the workers after 15 minutes without a heartbeat.")
@click.option("--takeover", is_flag=True, help="Allow the token to take the name of an offline worker. For admins.")
def create_token(shell: Shell, name: str | None, uses: int, expires: int, ephemeral: bool, takeover: bool) -> None:
    """Create a registration token. The token is shown only once."""
    made = shell.client.create_token(r.NewRegistrationToken(expires, uses, takeover, ephemeral, name))
    shell.show(made, str(made.token))
    hosts = "one host" if uses == 1 else f"{uses} hosts"
    shell.note(f"Valid for {hosts}, for {text.duration(expires)}; the token is not shown again.")


@command("revoke", of=tokens, examples="muster tokens revoke e295b90d\nmuster tokens revoke rack-4")
@click.argument("token")
def revoke_token(shell: Shell, token: str) -> None:
    """Revoke a registration token. Workers that joined with it continue, but cannot join with it again."""
    found = names.token(shell.client, token)
    shell.show(shell.client.revoke_token(found.token_id), f"Token {found.name or found.token_id} is revoked")


# API keys


@click.group(cls=Group, default="list")
def keys() -> None:
    """API keys for people, programs, gateways, and callers of models: list, create, revoke."""


@command("list", of=keys, examples="muster keys\nmuster keys --role caller\nmuster keys list -o json")
@click.option("--role", type=click.Choice(ROLES), help="Only keys of this role. By default all that you may see.")
def list_keys(shell: Shell, role: r.Role | None) -> None:
    """List the API keys."""
    found = names.keys(shell.client, role)
    now = shell.wall()
    rows: list[tuple[Cell, ...]] = [
        (
            names.short(key.key_id),
            key.name,
            key.role,
            text.ago(key.created_at, now),
            _limits(key),
            _expiry(key, now),
        )
        for key in found
    ]
    shell.table(
        r.ApiKeys(found), "id name role age limits expires", rows, "No keys: muster keys create NAME --role caller"
    )


def _limits(key: r.ApiKey) -> str | None:
    """What a caller's key allows, as `qwen, 60 rpm`."""
    found = [", ".join(key.models)] if key.models else []
    for name in ("rpm", "tpm", "tpd"):
        if (limit := getattr(key, name)) is not UNSET:
            found.append(f"{limit} {name}")
    return ", ".join(found) or None


def _expiry(key: r.ApiKey, now: datetime) -> str | None:
    if key.expires_at is UNSET:
        return None
    return f"in {text.ago(now, key.expires_at)}" if key.expires_at > now else "expired"


@command(
    "create",
    of=keys,
    examples="""
    muster keys create ci --role operator
    muster keys create app --role caller --model qwen --rpm 60
    muster keys create edge --role gateway
    """,
)
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    required=True,
    help="viewer reads, operator deploys, admin manages, gateway serves models, caller asks them.",
)
@click.option("--model", "models", multiple=True, metavar="NAME", help="A model that a caller may use. Repeatable.")
@click.option("--rpm", type=click.IntRange(1), help="Requests of a caller per minute.")
@click.option("--tpm", type=click.IntRange(1), help="Tokens of a caller per minute.")
@click.option("--tpd", type=click.IntRange(1), help="Tokens of a caller per day.")
@click.option("--expires", type=wanted.duration, help="Lifetime of a caller's key: 90s, 10m, 2h, or 3d.")
def create_key(
    shell: Shell,
    name: str,
    role: r.Role,
    models: tuple[str, ...],
    rpm: int | None,
    tpm: int | None,
    tpd: int | None,
    expires: int | None,
) -> None:
    """Create an API key. The key is shown only once."""
    made = shell.client.create_key(name, role, models=models, rpm=rpm, tpm=tpm, tpd=tpd, expires_in=expires)
    shell.show(made, str(made.key))
    shell.note(f"{made.name} is {made.role}; the key is not shown again.")


@command("revoke", of=keys, examples="muster keys revoke ci\nmuster keys revoke 7e858108")
@click.argument("key")
def revoke_key(shell: Shell, key: str) -> None:
    """Revoke an API key."""
    found = names.key(shell.client, key)
    shell.show(shell.client.revoke_key(found.key_id), f"Key {found.name} is revoked")


# Joining


class Join(Struct):
    """The command to run on a host, and the token in the command."""

    command: str
    token: r.RegistrationToken


@command("join", examples="muster join\nmuster join --name gpu-1 --address 10.0.0.7\nmuster join --uses 8")
@click.option("--name", help="Name of the worker. By default its host's name.")
@click.option("--address", metavar="HOST", help="Address of the host at which its models are reachable.")
@click.option("--uses", default=1, show_default=True, help="Number of hosts that may join with this command.")
@click.option("--expires", type=wanted.duration, default="1h", show_default=True, help="After 90s, 10m, 2h or 3d.")
def join(shell: Shell, name: str | None, address: str | None, uses: int, expires: int) -> None:
    """Print the command that makes a GPU host a worker.

    Run the command on the host. It contains a new registration token.
    """
    if uses > 1 and (name or address):
        raise click.UsageError("--name and --address belong to one host: leave them out with --uses")
    url = shell.client.url
    made = shell.client.create_token(r.NewRegistrationToken(expires_in=expires, max_uses=uses, name=name))
    assert made.token is not UNSET, "the client makes another one where it did not see it"
    options = ["--url", url]
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        options.append("--insecure")
    for flag, value in (("--name", name), ("--address", address)):
        options += [flag, value] if value else []
    line = f"curl -fsSL {shlex.quote(url + '/join.sh')} | sudo MUSTER_TOKEN={made.token} sh -s -- {shlex.join(options)}"
    shell.show(Join(line, made), line)
    if is_loopback(parts.hostname or ""):
        shell.note(f"{url} is reachable only from this machine: another host needs another URL (muster login URL).")
    within = text.duration(expires)
    shell.note(f"Run it on the host (Debian or Ubuntu) within {within}; muster workers shows the new worker.")


COMMANDS = (join, tokens, keys)
