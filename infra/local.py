"""The control plane on one machine: the unchanged app, chalice's local server, and a database inside the process.

    python -m infra.local serve --host 127.0.0.1 --port 8000 --data DIR
    python -m infra.local backup FILE
    chalice local

Servers come through `prepare`, which app.py calls before anything else is loaded: in the stage `local`, and for
`chalice local` of any stage (infra/cloud/by_chalice.py). Environment: MUSTER_DATA, MUSTER_HEARTBEAT (5 seconds here),
MUSTER_MAX_WAITS (64 here), MUSTER_LOCAL (1 here: 127.0.0.1 may be shown as an endpoint), MUSTER_WHEELHOUSE (the folder
with the wheels for hosts: build/wheelhouse), MUSTER_ADMIN_KEY, MUSTER_REGISTRATION_TOKEN, and AWS_ENDPOINT_URL_DYNAMODB
for another database than the embedded one.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path
from types import FrameType
from typing import BinaryIO

import chalice.local
import click
from chalice.app import Chalice
from chalice.config import Config

from infra import wheelhouse
from infra.local_backup import DATABASE, NoBackup, backup, keep, restore
from infra.local_damage import Damaged, Newer, check
from infra.local_server import DevServer, Site, stop
from infra.local_store import DataDirectory, DataInUse, Store
from muster.sanitize import log_to

log = logging.getLogger(__name__)

PROJECT = Path(__file__).resolve().parent.parent


@functools.cache
def prepare() -> Site:
    """Set the environment's defaults, start the embedded database, and give `chalice local` our server. Once."""
    os.environ.setdefault("MUSTER_HEARTBEAT", "5")
    os.environ.setdefault("MUSTER_MAX_WAITS", "64")  # threads are cheaper than functions
    os.environ.setdefault("MUSTER_LOCAL", "1")
    os.environ.setdefault("MUSTER_WHEELHOUSE", str(wheelhouse.folder()))
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    log_to(sys.stderr, "%(message)s")
    for chatty in ("botocore", "pynamodb"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    path = _data_path()
    try:
        site = _site(DataDirectory(path))
    except (DataInUse, Damaged, Newer) as error:
        stop(f"muster: {error}")
    except (OSError, sqlite3.Error) as error:
        stop(f"muster: cannot use {path}: {getattr(error, 'strerror', None) or error}; mend that, or give another DATA")
    chalice.local.LocalDevServer = functools.partial(DevServer, site)  # type: ignore[assignment, misc]
    return site


def _site(data: DataDirectory) -> Site:
    credentials = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
    if os.environ.get("AWS_ENDPOINT_URL_DYNAMODB"):
        for name, value in credentials.items():
            os.environ.setdefault(name, value)
        return Site(data, None)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        os.environ.pop(name, None)
    os.environ.update(credentials, AWS_EC2_METADATA_DISABLED="true")  # nothing here is meant for a real account
    data.lock()
    database = data.path / DATABASE
    if data.introduced and not database.exists():
        log.warning("muster: %s is gone; the server begins with an empty control plane", database)
        data.forget_introduction()
    warning = check(database, time.time(), was_used=data.introduced)
    if warning:
        log.warning("muster: %s", warning)
    try:
        from infra.local_dynamodb import Engine  # only here: moto adds a handler to botocore when it is imported
    except ModuleNotFoundError as error:
        stop(f"muster: the embedded database needs {error.name}: run `make setup`, then .venv/bin/chalice local")

    engine = Engine(Store(database))
    engine.attach()
    return Site(data, engine)


def _data_path() -> Path:
    """Outside the project, where `chalice local` would reload at every write."""
    if given := os.environ.get("MUSTER_DATA"):
        return Path(given).absolute()
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "muster"


@click.group()
def main() -> None:
    """Muster on this machine."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, help="0 takes a free one.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Where everything is kept.")
def serve(host: str, port: int, data: Path | None) -> None:
    """Run the control plane until it is interrupted."""
    if data:
        os.environ["MUSTER_DATA"] = str(data)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    app, config = _load()
    chalice.local.create_local_server(app, config, host, port).serve_forever()


def _load() -> tuple[Chalice, Config]:
    """The app in the stage `local`. chalice's own way there imports all of its command line, which takes longer."""
    written = json.loads((PROJECT / ".chalice" / "config.json").read_text())
    config = Config("local", user_provided_params={"project_dir": str(PROJECT)}, config_from_disk=written)
    os.environ.update(config.environment_variables)
    from app import app  # in the stage that the environment now names

    return app, config


@main.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Where everything is kept.")
def backup_(file: Path, data: Path | None) -> None:
    """Write all that is kept to FILE (- is standard output). The server may run meanwhile."""
    try:
        content = backup(data or _data_path())
        if file == Path("-"):
            sys.stdout.buffer.write(content)
        else:
            keep(content, file)
    except (NoBackup, OSError) as error:
        stop(f"muster: {error}")


@main.command("restore")
@click.argument("file", type=click.File("rb"))
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Where everything is kept.")
def restore_(file: BinaryIO, data: Path | None) -> None:
    """Put a backup (- is standard input) in the place of all that is kept. The server has to be stopped."""
    try:
        items = restore(DataDirectory(data or _data_path()), file.read(), time.time())
    except (NoBackup, DataInUse, OSError) as error:
        stop(f"muster: {error}")
    click.echo(f"Restored: {items} items", err=True)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    from infra import local  # not this copy of the module: prepare() must happen once

    local.main()
