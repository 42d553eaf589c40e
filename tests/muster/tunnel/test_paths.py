"""The paths that a gateway may ask for: whatever two programs could read differently is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.tunnel.paths import INFERENCE, Paths, Refused

PATHS = Paths()


@pytest.mark.parametrize("path", sorted(INFERENCE))
def test_inference_is_allowed_with_a_query_or_without(path: str) -> None:
    assert PATHS.check(path.encode()) == path.encode()
    assert PATHS.check(path.encode() + b"?x=1") == path.encode()
    assert PATHS.check(path.replace("v1", "%761").encode()) == path.encode(), "decoded once"


@pytest.mark.parametrize(
    "target",
    [
        *(b"/v1/load_lora_adapter", b"/v1/unload_lora_adapter", b"/metrics", b"/health", b"/v1", b"/v1/", b"/"),
        *(b"/v1/models", b"/v1/chat/completions/", b"/v1/chat", b"", b"v1/completions", b"http://x/v1/completions"),
        *(b"//v1/completions", b"/v1//completions", b"/v1/../v1/completions", b"/v1/./completions"),
        *(b"/v1/%2e%2e/v1/completions", b"/v1%2fcompletions", b"/v1%2Fcompletions", b"/v1/completions%00"),
        *(b"/v1/%252e%252e/completions", b"/v1/completions;x", b"/v1/completions%3b", b"/v1\\completions"),
        *(
            b"/v1/completions%5c",
            b"/v1/completions#x",
            b"/v1/completions%",
            b"/v1/completions%2",
            b"/v1/completions%zz",
        ),
        *(b"/v1/completions\r\nHost: x", b"/v1/completions\x00", b"/v1/comple\xc3\xa9", b"/V1/completions"),
        b"/v1/completions?" + b"x" * 3000,
    ],
)
def test_everything_else_is_refused(target: bytes) -> None:
    with pytest.raises(Refused):
        PATHS.check(target)


@given(st.binary(max_size=60))
def test_what_passes_is_always_a_path_of_the_list(target: bytes) -> None:
    try:
        clean = PATHS.check(b"/v1/" + target)
    except Refused:
        return
    assert clean.decode() in INFERENCE


def test_an_owner_may_add_plain_paths_and_no_others() -> None:
    assert Paths(["/v1/tokenize"]).check(b"/v1/tokenize?x") == b"/v1/tokenize"
    for bad in ("tokenize", "/v1/../x", "/v1/x?y", "/v1/%20", "/v1//x", "/v1/x/", "", "/"):
        with pytest.raises(ValueError, match="expected a path"):
            Paths([bad])
