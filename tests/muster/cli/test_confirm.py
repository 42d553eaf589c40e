"""What cannot be undone is asked about, where there is somebody to ask."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from muster.cli import confirm
from muster.cli.shell import Shell
from tests.fixtures.muster_process import bare_environment
from tests.fixtures.operators import Operators
from tests.fixtures.terminals import in_terminal

ASK = """
import sys
from muster.cli import confirm
from muster.cli.shell import Shell, Stop
try:
    confirm.ask(Shell(), False, "Remove \\x1b[31mgpu-1\\n?")
    print("removed")
except Stop as stop:
    stop.show()
    sys.exit(stop.exit_code)
"""


def test_yes_asks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    confirm.ask(Shell(), True, "Remove gpu-1?")
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_yes_has_to_be_given() -> None:
    @click.command()
    def remove() -> None:
        confirm.ask(Shell(), False, "Remove gpu-1?")

    said = CliRunner().invoke(remove)
    assert (said.exit_code, said.output) == (2, "Error: Remove gpu-1? There is no terminal to ask on: pass --yes\n")


def test_a_command_that_is_not_confirmed_changes_nothing(operators: Operators) -> None:
    operators.out("deploy org/model --name m --gpus 0 --wait")
    assert "There is no terminal to ask on: pass --yes" in operators.out("rm m --stop", 2)
    assert "m  " in operators.out("ps")


@pytest.mark.parametrize(
    ("answer", "code", "end"), [("y", 0, "removed"), ("n", 1, "Error: aborted: nothing was changed")]
)
def test_on_a_terminal_the_answer_decides(tmp_path: Path, answer: str, code: int, end: str) -> None:
    command = [sys.executable, "-c", ASK]
    done, said = in_terminal(command, bare_environment(tmp_path), until="[y/N]: ", types=f"{answer}\n".encode())
    assert (done, said.splitlines()[-1]) == (code, end)
    assert said.startswith("Remove gpu-1 ⏎ ? [y/N]: ")
