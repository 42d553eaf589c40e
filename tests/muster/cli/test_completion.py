"""muster completion: the script that a shell evaluates, and what it then completes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from muster.cli.main import muster
from tests.fixtures.muster_process import PROGRAM, bare_environment, run_any


def complete(words: str) -> str:
    """What the script gets for a line that ends here."""
    asked = {"_MUSTER_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    return CliRunner().invoke(muster, [], prog_name="muster", env=asked).stdout


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("muster wor", "plain,workers\n"),
        ("muster workers dr", "plain,drain\n"),
        ("muster deploy --sel", "plain,--selector\n"),
        ("muster ps --status run", "plain,running\n"),
    ],
)
def test_commands_options_and_values_are_completed(words: str, completed: str) -> None:
    assert complete(words) == completed


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script_that_asks_muster(shell: str) -> None:
    said = CliRunner().invoke(muster, ["completion", shell])
    assert (said.exit_code, said.stderr) == (0, "")
    assert "_MUSTER_COMPLETE" in said.stdout


def test_an_unknown_shell_is_a_usage_error() -> None:
    said = CliRunner().invoke(muster, ["completion", "csh"])
    assert said.exit_code == 2 and "'csh' is not one of 'bash', 'zsh', 'fish'" in said.stderr


def test_bash_completes_a_word_with_the_installed_program(tmp_path: Path) -> None:
    typed = f'eval "$({PROGRAM} completion bash)"; complete -p muster; '
    typed += f"COMP_WORDS=(muster wor) COMP_CWORD=1; _muster_completion {PROGRAM}; echo ${{COMPREPLY[*]}}"
    done = run_any(["bash", "-c", typed], bare_environment(tmp_path))
    assert done.stdout.endswith("-F _muster_completion muster\nworkers\n"), done.stderr
