"""The functions' archive: what chalice packages, less what Lambda does not need; the same bytes for the same content.

That is chalice's own runtime, app.py, chalicelib (console and all), what vendor holds or links to, and what
requirements.txt names. Botocore is not among it: Lambda brings it.

chalice itself looks for wheels of the Python that it runs on, and goes on without those that it does not find; here pip
is asked for those of Lambda's Python, and what is missing ends it.
"""

from __future__ import annotations

import ast
import marshal
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.util import MAGIC_NUMBER, source_hash
from pathlib import Path, PurePosixPath

from chalice.deploy.packager import DependencyBuilder, LambdaDeploymentPackager
from chalice.utils import UI, OSUtils

from chalicelib.routes import wheels
from muster.api.version import WHEEL

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest that an archive can say."""
FILE_MODE = 0o100644 << 16
UNIX = 3
MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}
"""Lambda's names for them, and wheels'."""
UNCHECKED_HASH = (1).to_bytes(4, "little")
"""In a compiled module: it is not compared with a source (PEP 552)."""
WITHOUT_REFERENCES = 2
"""The version of the marshal format. Later versions mark objects that the compiling process references more than once,
and strings that it has interned. Both depend on the other modules that the process has loaded, so the bytes would
differ."""
GLIBC = range(17, 35)
"""Of 2.x, up to that of Amazon Linux 2023."""


OWN = f"python{sys.version_info.major}.{sys.version_info.minor}"
KNOWN = ("python3.11", "python3.12", "python3.13")
"""Which Lambda has and the app runs on."""


@dataclass(frozen=True)
class Runtime:
    """What the functions run on, in Lambda's words. By default the Python that packages: it can compile for itself."""

    python: str = OWN if OWN in KNOWN else "python3.12"
    architecture: str = "arm64"

    @property
    def for_pip(self) -> list[str]:
        machine = MACHINES[self.architecture]
        platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in GLIBC] + [
            f"--platform=manylinux2014_{machine}"
        ]
        return ["--implementation=cp", f"--python-version={self.python.removeprefix('python')}", *platforms]


LAMBDA = Runtime()


class NotPackaged(Exception):
    """What pip says where it does not find all that is needed."""


class Archiver(LambdaDeploymentPackager):
    """Where chalice asks for an archive, it gets this one."""

    def __init__(self, archive: Path, runtime: Runtime) -> None:
        system = OSUtils()
        super().__init__(system, DependencyBuilder(system), UI(), runtime.architecture)
        self._archive, self._runtime = archive, runtime

    def create_deployment_package(self, project_dir: str, python_version: str) -> str:
        """Raises NotPackaged."""
        with tempfile.TemporaryDirectory() as folder:
            _install(Path(project_dir, "requirements.txt"), Path(folder), self._runtime)
            found = {name: Path(path) for path, name in self._iter_app_filenames(project_dir)}
            found |= dict(_files_in(Path(project_dir, "vendor"))) | dict(_files_in(Path(folder)))
            files = {name: path for name, path in found.items() if is_needed(name)}
            files = dict(_with_a_note(files, Path(folder)))
            if self._runtime.python == OWN:
                files = dict(_compiled(files, Path(folder)))
            _write(self._archive, files)
        return str(self._archive)


def _install(requirements: Path, folder: Path, runtime: Runtime) -> None:
    """requirements.txt is complete: what its packages ask for is there by name, or brought by Lambda."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    what = ["--no-deps", "--no-compile", "--only-binary=:all:", "-r", str(requirements), "--target", str(folder)]
    done = subprocess.run([*pip, *runtime.for_pip, *what], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise NotPackaged(f"pip did not find what {requirements.name} names for {runtime}: {done.stderr.strip()}")


def _files_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """Also behind links, as chalice has it."""
    for parent, _, names in os.walk(folder, followlinks=True):
        for path in (Path(parent, name) for name in names):
            yield path.relative_to(folder).as_posix(), path


def _with_a_note(files: dict[str, Path], folder: Path) -> Iterator[tuple[str, Path]]:
    """The files, with a note in the place of the own wheel: a third of the archive, which the bucket has as well."""
    for name, source in files.items():
        if fnmatch(PurePosixPath(name).name, WHEEL):
            own, note = wheels.own(source.parent), folder / wheels.NOTE
            assert own is not None
            note.write_text(f"{own.file} {own.sha256}\n")
            yield str(PurePosixPath(name).with_name(wheels.NOTE)), note
        else:
            yield name, source


def _compiled(files: dict[str, Path], folder: Path) -> Iterator[tuple[str, Path]]:
    """Modules as Python compiles them, in the place of their sources; everything else as it is.

    Lambda keeps nothing of what it compiles, which would be half of the time in which a function loads. A trace has
    files and lines all the same.
    """
    for name, source in files.items():
        if name.endswith(".py"):
            made = folder / "compiled" / f"{name}c"
            made.parent.mkdir(parents=True, exist_ok=True)
            made.write_bytes(compiled(source.read_bytes(), name))
            yield f"{name}c", made
        else:
            yield name, source


def compiled(source: bytes, name: str) -> bytes:
    """A compiled module as a file has it. Raises SyntaxError."""
    code = compile(_without_docstrings(ast.parse(source, name)), name, "exec", dont_inherit=True)
    return MAGIC_NUMBER + UNCHECKED_HASH + source_hash(source) + marshal.dumps(code, WITHOUT_REFERENCES)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    """Nothing in a function reads those of modules and functions. Those of classes stay: the API's document has them,
    and a dataclass without one makes one when it is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node, False):
            first = node.body[0]
            assert isinstance(first, ast.Expr)
            first.value = ast.copy_location(ast.Constant(""), first.value)
    return tree


def _write(archive: Path, files: dict[str, Path]) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as target:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr, entry.create_system = FILE_MODE, UNIX
            target.writestr(entry, files[name].read_bytes(), zipfile.ZIP_DEFLATED, 9)


def is_needed(name: str) -> bool:
    """Not what Python writes beside the code, nor what only pip and type checkers read."""
    path = PurePosixPath(name)
    kept_by = path.suffix not in {".pyc", ".pyi"} and path.name != "py.typed" and path.parts[0] != "bin"
    return kept_by and not any(part == "__pycache__" or part.endswith(".dist-info") for part in path.parts)
