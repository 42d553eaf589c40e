"""The wheel in an environment that has nothing else: what it brings, and what it must not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOREIGN = {"boto3", "botocore", "chalice", "moto", "pynamodb", "s3transfer"}


PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python"]
"""The environment has no pip of its own."""


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its `bin`."""
    folder = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    subprocess.run([*PIP, str(folder / "bin/python"), "install", "--quiet", "--no-compile", str(wheel)], check=True)
    return folder / "bin"


def run(program: Path, *arguments: str) -> str:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=True, cwd=program.parent)
    return done.stdout


def test_it_brings_no_library_of_the_control_plane(environment: Path) -> None:
    command = [*PIP, str(environment / "python"), "list", "--format", "json"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = {each["name"].lower() for each in json.loads(listed)}
    assert "muster" in names and "docker" in names
    assert names & FOREIGN == set()


def test_operators_have_a_program_and_a_client(environment: Path) -> None:
    assert run(environment / "muster", "--version") == "muster, version 0.1.0\n"
    assert "muster login URL" in run(environment / "muster", "--help")
    code = "from muster import Client; print(Client('https://muster.example', 'mst_key_x').url)"
    assert run(environment / "python", "-c", code) == "https://muster.example\n"


def test_its_program_runs(environment: Path) -> None:
    assert run(environment / "muster-agent", "--version") == "muster-agent, version 0.1.0\n"
    assert "--allow-image" in run(environment / "muster-agent", "--help")
    assert "doctor" in run(environment / "muster-agent", "--help")
    assert "Changes nothing" in run(environment / "muster-agent", "doctor", "--help")


def test_it_brings_the_tables_of_known_causes(environment: Path, tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    log.write_text("ValueError: LoRA rank 64 is greater than max_lora_rank 16.\n")
    assert run(environment / "muster", "explain", "--log", str(log)).startswith("INVALID_CONFIG: The LoRA has rank 64")
