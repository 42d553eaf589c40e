"""What holds for the text of the whole repository."""

from __future__ import annotations

import re
import shlex

import msgspec
import pytest

from muster.api.endpoints import ENDPOINTS, Endpoint
from tests.fixtures import ROOT
from tests.fixtures.markdown import anchors, blocks, files, links, pages, read

PRIVATE = {
    "a place on somebody's machine": r"(?<![\w.}/~-])/(?:home|Users|root|work|workspace|mnt|srv)/[\w.-]+",
    "a registry's host": r"(?:pypi|pythonhosted|npmjs|crates)[.](?:org|com|io)\b",
}
CONTAINER_HOME = "/root/.cache"  # inside vLLM's official image


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page: str) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        found = (ROOT / page).parent / path if path else ROOT / page
        assert found.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(str(found.resolve().relative_to(ROOT))), f"{page}: {target}"


def test_no_file_names_a_place_outside_of_the_repository() -> None:
    found = [
        f"{name}: {what}: {match[0]}"
        for name in files()
        for what, pattern in PRIVATE.items()
        for match in re.finditer(pattern, (ROOT / name).read_bytes().decode(errors="replace"))
        if match[0] != CONTAINER_HOME
    ]
    assert found == []


def test_every_decision_is_in_the_list() -> None:
    records = {name.removeprefix("docs/adr/") for name in pages() if name.startswith("docs/adr/0")}
    assert records == {target for target in links("docs/adr/README.md") if target.startswith("0")}
    assert len({name[:4] for name in records}) == len(records), "two decisions have one number"


def curls() -> list[list[str]]:
    """The README's curl commands for the API, as words."""
    shell = "".join(block.text for block in blocks("README.md") if block.language == "sh")
    lines = shell.replace("\\\n", " ").splitlines()
    return [words for line in lines if "$MUSTER/api" in line and (words := shlex.split(line))]


@pytest.mark.parametrize("words", curls(), ids=lambda words: " ".join(words[-3:])[:60])
def test_a_command_in_the_readme_calls_a_route_with_a_body_that_it_takes(words: list[str]) -> None:
    url = next(word for word in words if "$MUSTER/api" in word)
    method = words[words.index("-X") + 1] if "-X" in words else "GET"
    endpoint = _endpoint(method, url.partition("$MUSTER")[2].partition("?")[0])
    if "-d" in words:
        assert endpoint.body is not None
        msgspec.json.decode(words[words.index("-d") + 1].encode(), type=endpoint.body, strict=True)
    else:
        assert endpoint.body is None


def _endpoint(method: str, path: str) -> Endpoint:
    """The first that fits, as constant parts come before parameters."""
    fitting = [e for e in ENDPOINTS if e.method == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", e.path), path)]
    assert fitting, f"no route {method} {path}"
    return fitting[0]


def test_the_readme_shows_curl() -> None:
    assert len(curls()) > 5 and read("README.md").count("```sh") > 3
