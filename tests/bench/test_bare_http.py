"""The floor's responder: requests are told apart by their length, however their bytes arrive."""

from __future__ import annotations

from typing import cast

import pytest

from bench.bare_http import ANSWER, Responder

REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"


class Written:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


@pytest.mark.parametrize("pieces", [[REQUEST], [REQUEST[:10], REQUEST[10:-1], REQUEST[-1:]], [REQUEST * 2]])
def test_each_complete_request_has_one_answer(pieces: list[bytes]) -> None:
    responder, written = Responder(), Written()
    responder._transport = cast("object", written)  # type: ignore[assignment]
    for piece in pieces:
        responder.data_received(piece)
    assert written.data == ANSWER * b"".join(pieces).count(b"POST")


def test_a_request_without_a_body_is_answered() -> None:
    responder, written = Responder(), Written()
    responder._transport = cast("object", written)  # type: ignore[assignment]
    responder.data_received(b"GET / HTTP/1.1\r\n\r\n")
    assert written.data == ANSWER
