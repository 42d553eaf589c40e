"""What the console takes from npm: fetched as published, and held by a digest.

    python -m infra.vendor            fetch again what the manifest names, and fail unless every byte is as it was
    python -m infra.vendor --accept   the same after a version in the manifest was changed: write the new digests

The manifest is chalicelib/console/vendor/manifest.json. Nothing is built, bundled or changed on the way.
"""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path

import click
import msgspec

FOLDER = Path(__file__).resolve().parents[1] / "chalicelib" / "console" / "vendor"
MANIFEST = "manifest.json"


class File(msgspec.Struct):
    """`path` is where it is in the package, `sha256` of its bytes."""

    name: str
    path: str
    sha256: str = ""


class Package(msgspec.Struct):
    package: str
    version: str
    license: str
    files: list[File]


def manifest(folder: Path = FOLDER) -> list[Package]:
    return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=list[Package])


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def published(package: Package) -> dict[str, bytes]:
    """The package's files as the registry has them, by their path in it."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"{package.package}@{package.version}"]
        packed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.split()[-1]
        with tarfile.open(Path(folder) / packed) as archive:
            files = {file.path: archive.extractfile(f"package/{file.path}") for file in package.files}
            return {path: content.read() for path, content in files.items() if content is not None}


@click.command()
@click.option("--accept", is_flag=True, help="Write the digests of what was fetched, rather than hold it to them.")
@click.pass_obj
def main(folder: Path, accept: bool) -> None:
    packages = manifest(folder)
    for package in packages:
        contents = published(package)
        for file in package.files:
            found = digest(contents[file.path])
            if not accept and found != file.sha256:
                raise click.ClickException(f"{package.package} {package.version}: {file.path} is {found}")
            file.sha256 = found
            (folder / file.name).write_bytes(contents[file.path])
            click.echo(f"{found}  {file.name}")
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(packages)) + b"\n")


if __name__ == "__main__":
    main(obj=FOLDER)
