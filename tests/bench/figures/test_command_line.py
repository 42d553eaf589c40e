"""The figure of the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.figures.command_line import Cli, Command, Interpreter, SharedServer, entry, figure
from bench.peers import Bench
from tests.bench.figures.test_heartbeats import TINY
from tests.fixtures import ROOT


def test_the_entry_is_the_installed_program() -> None:
    done = subprocess.run([sys.executable, "-c", entry(ROOT), "--version"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.startswith("muster")


def test_a_process_has_its_processor_time() -> None:
    code = "import time\nbegan = time.process_time()\nwhile time.process_time() < began + 0.05: pass"
    busy = Command("busy", lambda case: [sys.executable, "-c", code], {})
    busy.times = 1
    assert busy.measure("any")["cpu"] >= 50


def test_the_command_line_of_another_checkout_is_its_own(tmp_path: Path) -> None:
    """Not that of the folder in which the benchmark was started."""
    checkout = tmp_path / "checkout"
    (checkout / "muster").mkdir(parents=True)
    (checkout / "pyproject.toml").write_text('[project.scripts]\nmuster = "muster.told:program"\n')
    (checkout / "muster" / "__init__.py").touch()
    (checkout / "muster" / "told.py").write_text("def program(): open('ran', 'w').close()")
    server = SharedServer(tmp_path, Bench(tmp_path, TINY))
    Cli("abc123", checkout, Path(sys.executable), server).measure("--version")
    assert (tmp_path / "ran").exists()


def test_a_command_that_fails_shows_why() -> None:
    with pytest.raises(RuntimeError, match="no-such-module"):
        Command("broken", lambda case: [sys.executable, "-m", "no-such-module"], {}).measure("any")


def test_the_floors_are_the_interpreter_alone_and_with_requests(tmp_path: Path) -> None:
    assert Interpreter('python -c "import requests"', Path("python"))._words("ps") == [
        "python",
        "-c",
        "import requests",
    ]
    names = [subject.name for subject in figure(Bench(tmp_path, TINY)).subjects]
    assert names == ["Muster", "python -c pass", 'python -c "import requests"']
