"""The table of commands: each has its module and its help there, and is imported when needed."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from muster.cli.commands import MODULES, SECTIONS, Commands
from muster.cli.main import muster


@pytest.mark.parametrize("section", SECTIONS)
def test_the_help_is_that_of_the_commands(section: str) -> None:
    texts = {name: text for name, (_, text) in SECTIONS[section].items()}
    assert texts == {name: muster.commands[name].get_short_help_str(100) for name in SECTIONS[section]}


@pytest.mark.parametrize("module", sorted(set(MODULES.values())))
def test_every_command_of_a_module_is_in_the_table(module: str) -> None:
    found = {command.name for command in import_module(f"muster.cli.{module}").COMMANDS}
    assert found == {name for name, home in MODULES.items() if home == module}


def test_a_command_is_imported_with_the_first_look_at_it() -> None:
    script = """
import sys
from muster.cli.commands import Commands
commands = Commands()
print("workers" in list(commands), "muster.cli.workers" in sys.modules)
print(commands["workers"].name, "muster.cli.workers" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\nworkers True\n"


def test_a_command_can_be_added_and_none_is_removed() -> None:
    commands = Commands()
    assert commands.get("nothing") is None and len(commands) == len(MODULES)
    commands["other"] = muster.commands["ps"]
    assert list(commands) == [*MODULES, "other"] and len(commands) == len(MODULES) + 1
    with pytest.raises(TypeError):
        del commands["ps"]
