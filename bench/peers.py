"""What the figures are measured with: the checkout, peers that are there, folders, and how much is measured."""

from __future__ import annotations

import shutil
import subprocess
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.figure import Scale
from bench.servers import ROOT, BareHttp, FastApi, LmStack, Muster, NotMeasured, Server


@dataclass(frozen=True)
class Bench:
    """`reference`: another checkout of Muster, which is measured in place of the peers; "" where there is none.

    `lmstack` is a checkout of LMStack.
    """

    folder: Path
    scale: Scale
    lmstack: Path | None = None
    reference: Path | None = None
    reference_name: str = ""
    python: Path = ROOT / ".venv" / "bin" / "python"
    reference_python: Path | None = None

    def fresh(self, name: str) -> Path:
        """An empty folder for a server's data."""
        path = self.folder / "data" / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def checkouts(self) -> dict[str, tuple[Path, Path]]:
        """The checkouts of Muster that are measured, each with its Python, by the name that the report uses."""
        found = {"Muster": (ROOT, self.python)}
        if self.reference is not None:
            found[self.reference_name] = (self.reference, self.reference_python or self.python)
        return found

    def servers(self) -> dict[str, Callable[[Path], Server]]:
        """What makes each server in a folder, by the name that the report uses."""
        makers: dict[str, Callable[[Path], Server]] = {}
        for name, (checkout, python) in self.checkouts().items():
            makers[name] = lambda folder, checkout=checkout, python=python: Muster(folder, checkout, python)  # type: ignore[misc]
        if self.reference is None:
            makers["FastAPI"] = FastApi
            makers["LMStack"] = self._lmstack(4)
            makers["LMStack, 1 process"] = self._lmstack(1)
        return makers

    def _lmstack(self, processes: int) -> Callable[[Path], Server]:
        def make(folder: Path) -> Server:
            if self.lmstack is None:
                raise NotMeasured("LMSTACK names no checkout of LMStack")
            return LmStack(folder, self.lmstack, self._environment(self.lmstack), processes)

        return make

    def _environment(self, checkout: Path) -> Path:
        """The Python of a virtual environment with the checkout's own requirements, made once."""
        path = self.folder / "lmstack-venv"
        python = path / "bin" / "python"
        ready = path / "ready"
        requirements = checkout / "backend" / "requirements.txt"
        if not ready.exists():
            venv.create(path, clear=True, with_pip=True)
            quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
            subprocess.run([str(python), "-m", "pip", "install", *quiet, "-r", str(requirements)], check=True)
            ready.touch()
        return python


def floor(folder: Path) -> Server:
    return BareHttp(folder)
