"""What the console takes from npm: held by a digest, fetched by a registry's client, refused where a byte differs."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from infra.vendor import FOLDER, MANIFEST, File, Package, digest, main, manifest, published

NPM = """#!/bin/sh
echo "$@" > "$ASKED"
cp "$PACKED" .
basename "$PACKED"
"""
CONTENT = b"export const answer = 42;\n"


class Registry:
    """An `npm` that packs what it is given, and a manifest that names one file of it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.asked, self._packed = folder / "vendor", folder / "asked", folder / "tiny-1.0.0.tgz"
        self.folder.mkdir()
        (folder / "bin").mkdir()
        npm = folder / "bin" / "npm"
        npm.write_text(NPM)
        npm.chmod(0o755)
        monkeypatch.setenv("PATH", f"{npm.parent}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("ASKED", str(self.asked))
        monkeypatch.setenv("PACKED", str(self._packed))
        self.package = Package("tiny", "1.0.0", "MIT", [File("tiny.js", "dist/tiny.js", digest(CONTENT))])
        (self.folder / MANIFEST).write_bytes(msgspec.json.encode([self.package]))

    def publish(self, content: bytes) -> None:
        with tarfile.open(self._packed, "w:gz") as archive:
            for name in ("package/dist/tiny.js", "package/dist/other.js"):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, arguments, obj=self.folder)

    @property
    def vendored(self) -> Path:
        return self.folder / "tiny.js"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    return Registry(tmp_path, monkeypatch)


def test_the_console_has_the_files_that_the_manifest_names_and_each_packages_license() -> None:
    packages = manifest()
    held = {file.name: file.sha256 for package in packages for file in package.files}
    there = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.iterdir()}
    del there[MANIFEST]
    assert held and there == held
    for package in packages:
        assert package.license and re.fullmatch(r"\d+\.\d+\.\d+", package.version), package
        assert any(file.name.startswith("LICENSE") for file in package.files), package


def test_only_the_files_that_are_named_are_taken_of_a_package(registry: Registry) -> None:
    registry.publish(CONTENT)
    assert published(registry.package) == {"dist/tiny.js": CONTENT}
    assert registry.asked.read_text() == "pack --silent tiny@1.0.0\n"


def test_what_is_as_it_was_is_written_again(registry: Registry) -> None:
    registry.publish(CONTENT)
    done = registry.run()
    assert (done.exit_code, done.stdout) == (0, f"{digest(CONTENT)}  tiny.js\n")
    assert registry.vendored.read_bytes() == CONTENT
    assert manifest(registry.folder) == [registry.package]


def test_what_is_not_as_it_was_is_refused_and_written_nowhere(registry: Registry) -> None:
    registry.publish(b"something else")
    done = registry.run()
    assert done.exit_code == 1 and "tiny 1.0.0: dist/tiny.js is " in done.stderr
    assert not registry.vendored.exists() and manifest(registry.folder) == [registry.package]


def test_another_version_is_accepted_with_its_digest(registry: Registry) -> None:
    registry.publish(b"something else")
    assert registry.run("--accept").exit_code == 0
    (package,) = manifest(registry.folder)
    assert package.files[0].sha256 == digest(b"something else")
    assert registry.vendored.read_bytes() == b"something else"
