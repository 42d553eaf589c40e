"""A module's tests are run against each mutation, and only what they let live survives."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures import ROOT

MODULE = "def larger(a, b):\n    unused = 1\n    return a if a > b else b\n"
TESTS = "from muster_agent.mod import larger\n\n\ndef test_larger():\n    assert larger(1, 2) == larger(2, 1) == 2\n"
PROGRAM = """
from tests.mutation.mutations import mutations
from tests.mutation.runs import TestsFailed, survives
from pathlib import Path

found = mutations(Path("agent/muster_agent/mod.py").read_text())
try:
    for mutation, survived in survives("agent/muster_agent/mod.py", "agent/muster_agent/test_mod.py", found, 2):
        print(mutation.key, survived)
except TestsFailed as error:
    print(error)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "agent" / "muster_agent").mkdir(parents=True)
    for name, text in (("__init__", ""), ("mod", MODULE), ("test_mod", TESTS)):
        (tmp_path / "agent" / "muster_agent" / f"{name}.py").write_text(text)
    return tmp_path


def run(project: Path) -> list[str]:
    command = [sys.executable, "-c", PROGRAM]
    environment = {"PYTHONPATH": f"{project}/agent:{ROOT}", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=True)
    return sorted(done.stdout.splitlines())


def test_the_tests_kill_what_they_notice_and_the_rest_survives(project: Path) -> None:
    assert run(project) == [
        "larger: 1 -> 2 #1 True",
        "larger: a > b -> a >= b #1 True",
        "larger: return a if a > b else b -> return None #1 False",
    ]


def test_tests_that_fail_by_themselves_prove_nothing(project: Path) -> None:
    (project / "agent" / "muster_agent" / "test_mod.py").write_text(TESTS.replace("== 2", "== 3"))
    assert run(project) == ["agent/muster_agent/test_mod.py fails without a mutation"]
