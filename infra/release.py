"""`make release TAG=v0.2.0`: the files of a release, in dist/, and only for the version of muster/api/version.py."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click

from muster.api.version import VERSION

PROJECT = Path(__file__).resolve().parents[1]


class NotReleased(click.ClickException):
    """What is to change before this can be a release."""


def check(tag: str, version: str, changelog: str) -> None:
    """Raises NotReleased unless the tag is that of the version, and the version is one whose changes are told."""
    if tag != f"v{version}":
        raise NotReleased(
            f"TAG is {tag or 'not set'}, and the version in muster/api/version.py is {version}: TAG=v{version}"
        )
    if ".dev" in version:
        raise NotReleased(f"{version} is a development version: set VERSION in muster/api/version.py")
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d{{2}}-\d{{2}}$", changelog, re.MULTILINE):
        raise NotReleased(f"CHANGELOG.md has no section `## [{version}] - YYYY-MM-DD`: name the unreleased changes so")


@click.command(help=__doc__)
@click.option("--tag", required=True, help="The tag of the commit, such as v0.2.0.")
def main(tag: str) -> None:
    check(tag, VERSION, (PROJECT / "CHANGELOG.md").read_text())
    dist = PROJECT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    for target in ("sdist", "wheel"):
        command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(dist)]
        subprocess.run(command, cwd=PROJECT, check=True)


if __name__ == "__main__":
    main()
