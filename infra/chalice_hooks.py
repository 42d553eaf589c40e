"""What a machine does before the app is loaded. Lambda has no `infra`, and does none of this.

    chalice local    serves the embedded database, whatever its stage: it never touches a stage's data
    chalice deploy   makes or checks the stage's data with the deployer's credentials, before Chalice changes anything
    chalice package  has the wheel for hosts in the archive, as `chalice deploy` has
    stage `local`    `make serve` and `make demo`: the embedded database and our server

Chalice has no hooks, but each of its commands loads app.py before it does anything else: app.py calls `before_the_app`
where this folder exists.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import click

BUCKET = "MUSTER_WHEEL_BUCKET"
"""Tells the functions which bucket has the wheels for hosts."""


def before_the_app() -> None:
    """Called by app.py before anything of the app is loaded. Raises click.ClickException.

    The imports are in the functions: `make serve` needs neither Chalice's command line nor AWS.
    """
    if os.environ.get("MUSTER_STAGE") == "local":
        _serve_the_embedded_database()
    if "chalice.cli" in sys.modules:  # a `chalice` command is about to ask the app for its routes
        _complete_the_command()


def _serve_the_embedded_database() -> None:
    from infra.local.prepare import prepare

    prepare()


def _complete_the_command() -> None:
    from infra.cloud import wheel

    # requirements.txt names all that the functions need. With what that needs, botocore would come, which Lambda has.
    os.environ.setdefault("PIP_NO_DEPS", "1")
    _complete_the_rest_api()
    command = _command()
    if command == "local":
        _serve_the_embedded_database()
        return
    _complete_the_environment()
    if command in ("deploy", "package"):
        wheel.ensure()
    if command == "deploy":
        _make_data()


def _command() -> str | None:
    """Which of Chalice's commands runs. Its reloader serves in a thread, where click knows no context."""
    import chalice.cli

    return next((word for word in sys.argv[1:] if word in chalice.cli.cli.commands), None)


def _option(name: str) -> str | None:
    context = click.get_current_context(silent=True)
    return context.params.get(name) if context is not None else None


def _complete_the_rest_api() -> None:
    from chalice.app import Chalice
    from chalice.deploy.models import RestAPI
    from chalice.deploy.swagger import SwaggerGenerator

    from infra.cloud import api_gateway

    written = SwaggerGenerator.generate_swagger

    def generate_swagger(self: SwaggerGenerator, app: Chalice, rest_api: RestAPI | None = None) -> dict[str, Any]:
        return written(self, app, rest_api) | api_gateway.responses()

    SwaggerGenerator.generate_swagger = generate_swagger  # type: ignore[method-assign]


def _complete_the_environment() -> None:
    """Every stage has tables of its own, also one that .chalice/config.json does not name."""
    from chalice.config import Config
    from chalice.constants import DEFAULT_STAGE_NAME

    from infra.cloud.names import prefix

    written: Any = vars(Config)["environment_variables"]

    def environment_variables(self: Config) -> dict[str, str]:
        bucket = {name: os.environ[name] for name in [BUCKET] if name in os.environ}
        return {"MUSTER_TABLE_PREFIX": prefix(self.chalice_stage), **bucket, **written.fget(self)}

    Config.environment_variables = property(environment_variables)  # type: ignore[assignment]
    os.environ.setdefault("MUSTER_TABLE_PREFIX", prefix(_option("stage") or DEFAULT_STAGE_NAME))


def _make_data() -> None:
    from botocore.exceptions import BotoCoreError, ClientError
    from chalice.constants import DEFAULT_STAGE_NAME

    from infra.cloud.errors import Misuse, explained
    from infra.cloud.names import STAGE, prefix

    stage = _option("stage") or DEFAULT_STAGE_NAME
    if stage == "local":
        raise Misuse("the stage local is for this machine: chalice local; a stage in AWS needs another name")
    if not re.fullmatch(STAGE, stage):
        raise Misuse(f"--stage: expected 2 to 20 of a-z, 0-9 and -, the first a letter, got {stage!r}")
    if os.environ["MUSTER_TABLE_PREFIX"] != prefix(stage):
        raise Misuse(
            f"MUSTER_TABLE_PREFIX is {os.environ['MUSTER_TABLE_PREFIX']!r}, and the tables of the stage {stage} are "
            f"{prefix(stage)}…: remove it from .chalice/config.json and from the environment"
        )
    if profile := _option("profile"):
        os.environ["AWS_PROFILE"] = profile
    try:
        from infra.cloud import stage_data  # which reads the prefix of the tables

        os.environ[BUCKET] = stage_data.make_data(stage)
    except ModuleNotFoundError as error:
        raise Misuse(
            f"{error.name} is not installed: run `make setup`, then .venv/bin/chalice deploy --stage {stage}"
        ) from error
    except (BotoCoreError, ClientError) as error:
        raise explained(error) from error
