"""What every command shares: exit codes, tables, where words go, and the default command of a group."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner

from muster.cli import shell
from muster.cli.shell import Command, Group, Shell, Stop, command, exit_code
from muster.exceptions import AuthError, Conflict, Invalid, MusterError, NotFound, TimedOut, Unreachable, WorkerFailed


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MusterError("X", ""), 1),
        (WorkerFailed("X", ""), 1),
        (Invalid("X", ""), 2),
        (NotFound("X", ""), 3),
        (AuthError("X", ""), 4),
        (Conflict("X", ""), 5),
        (Unreachable("X", ""), 6),
        (TimedOut("X"), 6),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: MusterError, code: int) -> None:
    assert exit_code(error) == code


def test_a_stop_is_cleaned() -> None:
    assert Stop("\x1b[31mred\x07", 3).message == "red\\x07"


def test_an_empty_table_is_advice_for_people_and_the_value_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    Shell().table({"rows": []}, "name", [], "none yet: make one")
    assert capsys.readouterr() == ("", "none yet: make one\n")
    Shell(json=True).table({"rows": []}, "name", [], "none yet: make one")
    said = capsys.readouterr()
    assert (json.loads(said.out), said.err) == ({"rows": []}, "")


def test_json_has_no_character_that_steers_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Shell(json=True).show({"a": "\x1b[2J\x9b"}, "words")
    said = capsys.readouterr().out
    assert json.loads(said) == {"a": "\x1b[2J\x9b"} and not set("\x1b\x9b") & set(said)


def test_without_a_terminal_nobody_watches() -> None:
    assert not Shell().live


def test_an_account_that_cannot_be_loaded_ends_with_the_code_for_keys() -> None:
    with pytest.raises(Stop, match="not logged in") as stop:
        _ = Shell(environment={"XDG_CONFIG_HOME": "/nonexistent"}).client
    assert stop.value.exit_code == shell.AUTH


@click.group(cls=Group, default="list")
def things() -> None:
    """Things."""


@command("list", of=things, examples="things list -o json")
@click.option("--all", "every", is_flag=True)
def list_(shell: Shell, every: bool) -> None:
    """List things."""
    shell.show({"every": every}, f"every: {every}")


@command("add", of=things, examples="things add x")
def add(shell: Shell) -> None:
    """Add a thing."""
    shell.say("added")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "every: False\n"),
        (["--all"], "every: True\n"),
        (["-o", "json"], '{\n  "every": false\n}\n'),
        (["list", "--all"], "every: True\n"),
        (["add"], "added\n"),
    ],
)
def test_a_group_without_a_command_runs_its_default(words: list[str], said: str) -> None:
    assert CliRunner().invoke(things, words, obj=Shell()).output == said


def test_help_lists_commands_as_they_were_made_and_examples() -> None:
    shown = CliRunner().invoke(things, ["--help"]).output
    assert shown.index("list") < shown.index("add")
    assert isinstance(list_, Command)
    assert "Examples:\n  things list -o json\n" in CliRunner().invoke(things, ["list", "--help"]).output
