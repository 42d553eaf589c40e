"""Every `aws …` line of the pages is one that its command line takes, by the descriptions that it is made of."""

from __future__ import annotations

import re
import shlex

import botocore.session
import pytest
from botocore import xform_name

from infra.cloud import restore
from tests.fixtures.markdown import blocks, pages

LINES = sorted(
    {
        (page, found)
        for page in pages()
        for block in blocks(page)
        if block.language == "sh"
        for found in re.findall(r"\baws (?:[^;\n]*?)(?=;|\)?$)", block.text.replace("\\\n", " "), re.M)
    }
)
GLOBAL = {"--output", "--query", "--region", "--profile", "--no-cli-pager"}


def wrong(line: str) -> str | None:
    """What there is no such thing as: a service, a command, an option."""
    words = shlex.split(line)[1:]
    session = botocore.session.get_session()
    if words[0] not in session.get_available_services():
        return words[0]
    model = session.get_service_model(words[0])
    if words[1] == "wait":
        names = {xform_name(name, "-") for name in session.get_waiter_model(words[0]).waiter_names}
        return None if words[2] in names else words[2]
    commands = {xform_name(name, "-"): name for name in model.operation_names}
    if words[1] not in commands:
        return words[1]
    shape = model.operation_model(commands[words[1]]).input_shape
    members = shape.members if shape else {}
    options = GLOBAL | {f"--{xform_name(name, '-')}" for name in members}
    options |= {f"--no-{xform_name(name, '-')}" for name, member in members.items() if member.type_name == "boolean"}
    return next((word for word in words if word.startswith("--") and word not in options), None)


@pytest.mark.parametrize(("page", "line"), LINES)
def test_the_command_line_takes_it(page: str, line: str) -> None:
    assert wrong(line) is None, page


def test_there_are_lines_and_wrong_ones_are_found() -> None:
    assert len(LINES) >= 6
    assert wrong("aws dynamodb restore-tables --x") == "restore-tables"
    assert wrong("aws dynamodb delete-table --table y") == "--table"
    assert wrong("aws dynamodb wait table-is-there --table-name y") == "table-is-there"


def test_the_tables_that_are_restored_are_all_of_them() -> None:
    text = "".join(block.text for block in blocks("docs/operations.md"))
    (named,) = re.findall(r'^tables="([^"]*)"', text, re.M)
    assert sorted(named.split()) == sorted(restore.TABLE_NAMES)
