"""docs/troubleshooting.md has a section for each error code of the source, and none that no code has."""

from __future__ import annotations

import ast
import re

import pytest

from muster.api.conditions import ConditionType
from muster.api.errors import STATUS
from muster.cli.explain import conditions, page, sections
from muster.diagnostics.rules import every_rule
from tests.fixtures import ROOT
from tests.fixtures.markdown import files, read

PAGE = read("docs/troubleshooting.md")
SOURCE = ("agent/", "chalicelib/", "muster/")
LIKE_A_CODE = re.compile(r"[A-Z]{3,}(?:_[A-Z]+)+|[A-Z]{7,}")
NO_CODE = re.compile(
    r"(?:HF|HUGGING_FACE|MUSTER|AWS|NVIDIA|VLLM|LITELLM|XDG|POSTGRES|CUDA_(?:VISIBLE|DEVICE))_\w+|\w+_PROXY"
    r"|DOCKER_HOST|\w+_CA_BUNDLE|SSL_CERT_FILE|CERTIFICATE_VERIFY_FAILED|UNEXPECTED_EOF_WHILE_READING"
    r"|PCI_BUS_ID|(?:OMP|OPENBLAS)_NUM_THREADS|(?:NCCL|GLOO)_\w+|MAX_JOBS|PRETTY_NAME|FORCE_COLOR|TTY_COMPATIBLE|TRANSFORMERS_OFFLINE|WARNING|PATTERN|CONTAINER|ROLLBACK"
    r"|CONTROL_PLANE|MAX_BODY|OFFLINE_FOR|SECONDS|SELECTOR|TLS_(?:CERT|KEY)"
)
"""Variables of an environment and other words that look like codes. A new one belongs here, or on the page."""


def texts(name: str) -> set[str]:
    tree = ast.parse(read(name))
    return {each.value for each in ast.walk(tree) if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def codes() -> set[str]:
    found = {text for name in files() if name.startswith(SOURCE) and name.endswith(".py") for text in texts(name)}
    in_source = {text for text in found if LIKE_A_CODE.fullmatch(text) and not NO_CODE.fullmatch(text)}
    return in_source | {rule.code for rule in every_rule()}


def test_every_code_has_its_section_and_no_section_is_made_up() -> None:
    page_of = sections(read("docs/troubleshooting.md"))
    assert set(page_of) == codes()
    assert [code for code, text in page_of.items() if len(text) < 40] == []


def test_every_type_of_condition_has_its_section_and_no_section_is_made_up() -> None:
    page_of = conditions(read("docs/troubleshooting.md"))
    assert list(page_of) == list(ConditionType)
    assert [type_ for type_, text in page_of.items() if len(text) < 200] == []


def test_the_collection_finds_them_wherever_they_stand() -> None:
    agents = {"CUDA_OUT_OF_MEMORY", "PULL_STALLED", "POISON_COMMAND", "EXPIRED", "DOCKER_UNAVAILABLE", "NOT_OURS"}
    assert codes() >= set(STATUS) | agents | {"AGENT_STATE_LOST", "WORKER_LOST", "UNREACHABLE", "TIMED_OUT"}


@pytest.mark.parametrize("code", sorted(sections(PAGE) | conditions(PAGE)))
def test_a_section_is_for_a_terminal(code: str) -> None:
    text = (sections(page()) | conditions(page()))[code]
    assert "](" not in text and "```" not in text and (ROOT / "docs").exists()
