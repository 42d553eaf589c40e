"""muster gateway serve: one OpenAI-compatible address for the models of the fleet."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from muster.cli.account import AccountError, load
from muster.cli.shell import AUTH, FAILED, INTERRUPTED, Shell, Stop, command
from muster.extras import needed
from muster.gateway.config import (
    DEFAULT_HOLD_SECONDS,
    DEFAULT_LISTEN,
    DEFAULT_MAX_BODY_BYTES,
    DEFAULT_OFFLINE_SECONDS,
    GatewayConfig,
    OptionError,
)

REFUSALS = {
    "UNAUTHENTICATED": "the key is unknown, or was revoked",
    "FORBIDDEN": "the key has another role than gateway",
}
CREATE_KEY = "an admin creates one: muster keys create my-gateway --role gateway"


def _variable(name: str) -> str:
    return f"MUSTER_GATEWAY_{name}"


@command(
    "serve",
    examples="""
    muster gateway serve --control-plane https://muster.example.com --url https://models.example.com
    muster gateway serve --control-plane http://127.0.0.1:8000 --listen 127.0.0.1:8080
    muster gateway serve --url https://lab.example.com --selector site=lab --listen 0.0.0.0:8080
    """,
)
@click.option(
    "--url",
    envvar=_variable("URL"),
    metavar="URL",
    help="Public address of the gateway, which agents and callers use. By default the address of --listen, if that is"
    " of this machine.",
)
@click.option(
    "--listen",
    envvar=_variable("LISTEN"),
    metavar="HOST:PORT",
    default=DEFAULT_LISTEN,
    show_default=True,
    help="Where the gateway listens.",
)
@click.option(
    "--control-plane",
    envvar=_variable("CONTROL_PLANE"),
    metavar="URL",
    help="URL of the control plane. By default that of muster login.",
)
@click.option(
    "--key",
    envvar=_variable("KEY"),
    metavar="KEY",
    help="API key of the role gateway; safer as the variable MUSTER_GATEWAY_KEY, since others can read options.",
)
@click.option(
    "--selector",
    envvar=_variable("SELECTOR"),
    multiple=True,
    metavar="KEY=VALUE",
    help="Serve only models on workers with this label. Repeatable.",
)
@click.option(
    "--tls-cert",
    envvar=_variable("TLS_CERT"),
    type=click.Path(dir_okay=False, path_type=Path),
    help="Certificate chain (PEM), to serve HTTPS without a proxy in front.",
)
@click.option(
    "--tls-key",
    envvar=_variable("TLS_KEY"),
    type=click.Path(dir_okay=False, path_type=Path),
    help="Private key of --tls-cert (PEM).",
)
@click.option(
    "--data",
    envvar=_variable("DATA"),
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of this gateway, with the last routes and the ledger of usage. By default /var/lib/muster-gateway, or"
    " ~/.local/state/muster-gateway for other users than root.",
)
@click.option(
    "--hold",
    envvar=_variable("HOLD"),
    type=float,
    default=DEFAULT_HOLD_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long a request waits for a model that is starting.",
)
@click.option(
    "--offline-for",
    envvar=_variable("OFFLINE_FOR"),
    type=float,
    default=DEFAULT_OFFLINE_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long the gateway serves while the control plane is away.",
)
@click.option(
    "--max-body",
    envvar=_variable("MAX_BODY"),
    type=int,
    default=DEFAULT_MAX_BODY_BYTES,
    show_default=True,
    metavar="BYTES",
    help="Largest body of a request.",
)
@click.option(
    "--path",
    envvar=_variable("PATH"),
    multiple=True,
    metavar="PATH",
    help="A further path of the models that callers may use, such as /v1/classify. Repeatable.",
)
def serve(shell: Shell, **given: Any) -> None:
    """Serve every model of the fleet at one OpenAI-compatible address.

    Agents dial the gateway, so hosts need no open port. Each option is also a variable, such as MUSTER_GATEWAY_URL.
    The access log goes to standard output, one line of JSON for each request.

    SIGTERM and Ctrl-C let running requests end; a second Ctrl-C ends the gateway at once.
    """
    config = _config(shell, given)
    with needed("gateway", "muster"):
        from muster.gateway import gateway_process
        from muster.gateway.listener import CannotServe
    for warning in config.warnings():
        shell.note(f"warning: {warning}")
    try:
        was_interrupted = gateway_process.run(config, lambda text: shell.note(text))
    except gateway_process.KeyRefused as error:
        reason = REFUSALS.get(error.error_code, str(error))
        raise Stop(f"{config.control_plane} refuses --key: {reason}; {CREATE_KEY}", AUTH) from error
    except CannotServe as error:
        raise Stop(str(error), FAILED) from error
    except OptionError as error:
        raise click.UsageError(str(error)) from error
    if was_interrupted:
        raise Stop("the gateway has stopped", INTERRUPTED)


def _config(shell: Shell, given: dict[str, Any]) -> GatewayConfig:
    """Raises UsageError."""
    if not given["control_plane"]:
        with suppress(AccountError):
            given["control_plane"] = load(shell.environment).url
    try:
        return GatewayConfig.from_options(given)
    except OptionError as error:
        raise click.UsageError(str(error)) from error
