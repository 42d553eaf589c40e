"""What the pages tell people to type is there: routes for curl, targets for make, options for muster-agent."""

from __future__ import annotations

import re
import shlex

import pytest

from muster.api.endpoints import ENDPOINTS
from muster_agent.main import main
from tests.fixtures.markdown import blocks, pages, read

SHELL = [
    (page, line)
    for page in pages()
    for block in blocks(page)
    if block.language == "sh"
    for line in block.text.replace("\\\n", " ").splitlines()
]
PAGES = {"/join.sh", "/muster.whl", "/console"}
"""Beside the API (ADR 11, ADR 17)."""
OPTIONS = {option for each in main.params for option in each.opts} | {"--help", "--version", "--models"}


def with_(pattern: str) -> list[tuple[str, str]]:
    return [(page, line) for page, line in SHELL if re.search(pattern, line)]


@pytest.mark.parametrize(("page", "line"), with_(r'curl .*\$MUSTER"?/'))
def test_curl_names_a_route(page: str, line: str) -> None:
    method = (re.findall(r"-X (\w+)", line) or ["GET"])[0]
    for path in re.findall(r'\$MUSTER"?(/[^\s"?]*)', line):
        routes = [e for e in ENDPOINTS if e.method == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", e.path), path)]
        assert routes or path in PAGES, f"{page}: {method} {path}"


@pytest.mark.parametrize("page", pages())
def test_make_has_the_target(page: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", read("Makefile"), re.M))
    shell = "\n".join(line for where, line in SHELL if where == page)
    named = set(re.findall(r"(?:^|&& |…? )make ([a-z][a-z0-9-]+)", shell, re.M))
    named |= set(re.findall(r"`make ([a-z][a-z0-9-]+)", read(page)))
    assert named <= targets


@pytest.mark.parametrize(("page", "line"), with_(r"muster-agent .*--|make agent|join\.sh.*--"))
def test_the_agent_has_the_option(page: str, line: str) -> None:
    if "docker run" in line:  # its own options come first
        line = line.rpartition(" muster-agent ")[2]
    agents = re.split(r"muster-agent |ARGS=|sh -s -- ", line)[-1]
    given = {word.partition("=")[0] for word in shlex.split(agents.replace('"', "")) if word.startswith("--")}
    assert given <= OPTIONS, f"{page}: {line}"


def test_wrong_ones_would_be_found() -> None:
    assert len(with_("curl ")) > 10 and len(with_(r"muster-agent .*--")) > 3
    with pytest.raises(AssertionError):
        test_curl_names_a_route("x.md", 'curl "$MUSTER/api/no-such"')
    with pytest.raises(AssertionError):
        test_the_agent_has_the_option("x.md", "muster-agent --no-such 1")
