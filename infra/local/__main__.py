"""The control plane on one machine: the unchanged app, a server, and a database inside the process.

python -m infra.local serve --host 127.0.0.1 --port 8000 --data DIR
python -m infra.local backup FILE
python -m infra.local restore FILE
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import BinaryIO

import chalice.local
import click
from chalice.app import Chalice
from chalice.config import Config

from infra.local.backup import NoBackup, backup, keep, restore
from infra.local.prepare import data_path
from infra.local.server import GATEWAY, stop
from infra.local.store import DataDirectory, DataInUse

PROJECT = Path(__file__).resolve().parents[2]


@click.group()
def main() -> None:
    """Muster on this machine."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, help="0 takes a free one.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Where everything is kept.")
@click.option(
    "--gateway/--no-gateway",
    envvar=GATEWAY,
    default=True,
    show_default=True,
    help="Serve models too, at /v1 beside the API.",
)
def serve(host: str, port: int, data: Path | None, gateway: bool) -> None:
    """Run the control plane until it is interrupted."""
    os.environ[GATEWAY] = "1" if gateway else "0"
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
        content = backup(data or data_path())
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
        items = restore(DataDirectory(data or data_path()), file.read(), time.time())
    except (NoBackup, DataInUse, OSError) as error:
        stop(f"muster: {error}")
    click.echo(f"Restored: {items} items", err=True)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
