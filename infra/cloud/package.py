"""A stage packaged for AWS, offline: python -m infra.cloud.package --stage prod [--rest]

Writes into build/STAGE: data.json and app.json, the templates of the two stacks, and deployment.zip, the code, whose
bucket and key app.json takes as parameters. It needs pip's index, and no account.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from app import app
from infra.cloud import application, data
from infra.cloud.archive import LAMBDA, NotPackaged, Runtime

PROJECT = Path(__file__).resolve().parents[2]
ARCHIVE = "deployment.zip"


def build(stage: str, folder: Path, rest: bool = False, runtime: Runtime = LAMBDA) -> Path:
    """The folder, with the three files in it. `rest`: a REST API rather than an HTTP API. Raises NotPackaged."""
    folder.mkdir(parents=True, exist_ok=True)
    planned = application.plan(app, stage, PROJECT, folder / ARCHIVE, runtime)
    _write(folder / "data.json", data.template(stage))
    _write(folder / "app.json", application.template(app, stage, planned, rest))
    return folder


def _write(path: Path, template: dict[str, Any]) -> None:
    path.write_text(json.dumps(template, indent=1, sort_keys=True) + "\n")


@click.command()
@click.option("--stage", required=True, help="Its name, such as prod.")
@click.option("--rest", is_flag=True, help="A REST API in the place of an HTTP API, which is cheaper.")
def main(stage: str, rest: bool) -> None:
    """Package a stage for AWS."""
    try:
        folder = build(stage, PROJECT / "build" / stage, rest)
    except NotPackaged as error:
        raise click.ClickException(str(error)) from error
    for path in sorted(folder.iterdir()):
        click.echo(f"{path.relative_to(PROJECT)}  {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
