"""Every JSON example in the README and in docs/ is one that the contract takes, field by field."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from muster.api import gateways, messages, resources
from tests.fixtures.markdown import Block, blocks, pages

EXAMPLES = [block for page in pages() for block in blocks(page) if block.language == "json"]
MODULES = {"gateways": gateways, "messages": messages, "resources": resources}


def type_of(block: Block) -> Any:
    module, _, name = (block.comment or "").partition(".")
    assert module in MODULES, f"{block}: expected <!-- messages.… --> or <!-- resources.… --> before the example"
    return getattr(MODULES[module], name)


def unknown(decoded: Any, example: Any, path: str = "$") -> list[str]:
    """Fields of the example that its type does not have: workers' types ignore them, examples must not have any."""
    if isinstance(decoded, list):
        pairs = [(one, other, f"{path}[]") for one, other in zip(decoded, example, strict=True)]
    elif isinstance(decoded, dict):
        pairs = [(decoded[name], example[name], f"{path}.{name}") for name in example]
    elif isinstance(decoded, msgspec.Struct):
        fields = dict(zip(decoded.__struct_encode_fields__, decoded.__struct_fields__, strict=True))
        tag = decoded.__struct_config__.tag_field
        missing = [f"{path}.{name}" for name in example if name not in fields and name != tag]
        known = [name for name in example if name in fields]
        return missing + [
            each for name in known for each in unknown(getattr(decoded, fields[name]), example[name], f"{path}.{name}")
        ]
    else:
        return []
    return [each for pair in pairs for each in unknown(*pair)]


def decode(block: Block) -> Any:
    return msgspec.json.decode(block.text.encode(), type=type_of(block), strict=True)


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
def test_an_example_is_what_its_type_takes(block: Block) -> None:
    assert unknown(decode(block), msgspec.json.decode(block.text.encode())) == []


def test_there_are_examples_on_both_pages() -> None:
    assert {block.file for block in EXAMPLES} >= {"README.md", "docs/protocol.md"}


def test_an_example_without_a_type_fails() -> None:
    with pytest.raises(AssertionError, match=r"page\.md:3: expected"):
        decode(Block("page.md", 3, "json", None, "{}"))


def test_a_field_that_its_type_does_not_have_is_found() -> None:
    example = {"commands": [{"type": "stop", "command_id": "a", "deployment_id": "b", "generation": 1, "typo": 2}]}
    decoded = msgspec.convert({**example, "inbox": 1, "next_heartbeat_in": 1}, messages.HeartbeatAnswer)
    assert unknown(decoded, example) == ["$.commands[].typo"]


def test_every_command_has_an_example() -> None:
    shown = {type_of(block) for block in EXAMPLES if block.file == "docs/protocol.md"}
    assert shown >= set(get_args(messages.Command))


def test_every_output_has_an_example() -> None:
    shown = {type_of(block) for block in EXAMPLES if block.file == "docs/protocol.md"}
    assert shown >= set(messages.OUTPUTS.values())
