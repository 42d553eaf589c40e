"""The wheel in an environment that has nothing else: what it brings, and what it must not."""

from __future__ import annotations

import email
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from muster.api.version import DISTRIBUTION, VERSION
from muster.extras import EXTRAS

FOREIGN = {"boto3", "botocore", "chalice", "moto", "pynamodb", "s3transfer"}


PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python"]
"""The environment has no pip of its own."""


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its `bin`."""
    return made(tmp_path_factory.mktemp("clean"), f"{wheel}[agent,cli]")


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its `bin`: the distribution without an extra."""
    return made(tmp_path_factory.mktemp("bare"), str(wheel))


def made(folder: Path, requirement: str) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    subprocess.run([*PIP, str(folder / "bin/python"), "install", "--quiet", "--no-compile", requirement], check=True)
    return folder / "bin"


def run(program: Path, *arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=True, cwd=cwd or program.parent)
    return done.stdout


def brought(environment: Path) -> set[str]:
    """The names of the distributions that are installed there."""
    command = [*PIP, str(environment / "python"), "list", "--format", "json"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {each["name"].lower() for each in json.loads(listed)}


def test_it_brings_no_library_of_the_control_plane(environment: Path) -> None:
    names = brought(environment)
    assert {DISTRIBUTION, "docker", "click"} <= names
    assert names & FOREIGN == set()


def test_without_an_extra_it_is_the_client(bare: Path) -> None:
    assert brought(bare) == {DISTRIBUTION, "msgspec", "requests"} | {"certifi", "charset-normalizer", "idna", "urllib3"}
    code = "from muster import Client; print(Client('https://muster.example', 'mst_key_x').url)"
    assert run(bare / "python", "-c", code) == "https://muster.example\n"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["muster", "ps"], f"muster: click is not installed: pip install '{DISTRIBUTION}[cli]'\n"),
        (["muster-agent"], f"muster-agent: click is not installed: pip install '{DISTRIBUTION}[agent]'\n"),
        (
            ["python", "-m", "muster_agent", "doctor"],
            f"muster-agent: click is not installed: pip install '{DISTRIBUTION}[agent]'\n",
        ),
    ],
    ids=["command line", "agent", "module"],
)
def test_a_part_that_is_not_installed_says_which_extra_brings_it(bare: Path, command: list[str], told: str) -> None:
    done = subprocess.run([bare / command[0], *command[1:]], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)


def test_a_project_with_packages_of_our_folders_names_uses_it_all_the_same(environment: Path, tmp_path: Path) -> None:
    """As every Chalice project has a `chalicelib`."""
    for folder in ("chalicelib", "agent"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("raise ImportError('this is of another project')\n")
    code = "from muster import Client, Deployment; print(Client.__name__, Deployment.__name__)"
    assert run(environment / "python", "-c", code, cwd=tmp_path) == "Client Deployment\n"
    assert "--allow-image" in run(environment / "python", "-m", "muster_agent", "--help", cwd=tmp_path)
    assert "muster login URL" in run(environment / "muster", "--help", cwd=tmp_path)


def test_its_metadata_is_complete(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        folder = f"muster_gpu-{VERSION}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{folder}/METADATA"))
        assert f"{folder}/licenses/LICENSE" in archive.namelist()
    told = "Summary Author License-Expression License-File Keywords Classifier Requires-Python"
    assert [name for name in told.split() if not metadata[name]] == []
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert str(metadata.get_payload()).startswith("# Muster")
    assert set(metadata.get_all("Provides-Extra", [])) == {*EXTRAS, "dev", "server"}


def test_operators_have_a_program_and_a_client(environment: Path) -> None:
    assert run(environment / "muster", "--version") == f"muster, version {VERSION}\n"
    assert "muster login URL" in run(environment / "muster", "--help")
    code = "from muster import Client; print(Client('https://muster.example', 'mst_key_x').url)"
    assert run(environment / "python", "-c", code) == "https://muster.example\n"


def test_its_program_runs(environment: Path) -> None:
    assert run(environment / "muster-agent", "--version") == f"muster-agent, version {VERSION}\n"
    assert "--allow-image" in run(environment / "muster-agent", "--help")
    assert "doctor" in run(environment / "muster-agent", "--help")
    assert "Changes nothing" in run(environment / "muster-agent", "doctor", "--help")


def test_it_brings_the_tables_of_known_causes(environment: Path, tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    log.write_text("ValueError: LoRA rank 64 is greater than max_lora_rank 16.\n")
    assert run(environment / "muster", "explain", "--log", str(log)).startswith("INVALID_CONFIG: The LoRA has rank 64")
