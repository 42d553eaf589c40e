"""Headers between callers and models: those of the lists, once each, without control characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.tunnel.headers import FROM_MODEL, TO_MODEL, from_model, to_model

FRAMING = b"host content-length transfer-encoding connection upgrade expect te trailer authorization cookie".split()


@pytest.mark.parametrize("name", FRAMING)
def test_what_frames_a_message_or_carries_a_credential_stays_behind(name: bytes) -> None:
    assert to_model([(name, b"x"), (name.upper(), b"x")]) == [] == from_model([(name, b"x")])


def test_the_first_of_several_passes_under_its_lower_case_name() -> None:
    given_ = [(b"Content-Type", b" application/json "), (b"content-type", b"text/plain"), (b"X-Other", b"1")]
    assert to_model(given_) == [(b"content-type", b"application/json")]


@pytest.mark.parametrize("value", [b"a\r\nb", b"a\nb", b"a\x00b", b"a\x7f", b"x" * 5000])
def test_a_value_with_a_control_character_or_too_long_is_left_out(value: bytes) -> None:
    assert to_model([(b"accept", value)]) == [] == from_model([(b"content-type", value)])


@given(st.lists(st.tuples(st.sampled_from(sorted(TO_MODEL | FROM_MODEL | {b"host"})), st.binary(max_size=20))))
def test_no_line_can_end_early(headers: list[tuple[bytes, bytes]]) -> None:
    for passed in (to_model(headers), from_model(headers)):
        assert all(b"\r" not in value and b"\n" not in value and b"\0" not in value for _, value in passed)
        assert len({name for name, _ in passed}) == len(passed)


def test_the_refusal_of_an_agent_is_none_of_a_models_headers() -> None:
    assert from_model([(b"muster-refusal", b"draining")]) == []
