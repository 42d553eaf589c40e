"""What a request used, as the model counts it: asked for in every stream, and hidden from callers that did not ask.

    stream, caller did not ask ──► `include_usage` is added to the body ──► the event that has it is left out
    stream, caller asked       ──► the event passes
    whole answer               ──► its field `usage`

Most bytes of a stream are whole events without usage: they pass untouched.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from muster.gateway.openai_request import Asked

COUNTED_IN_STREAMS = frozenset((b"/v1/chat/completions", b"/v1/completions"))
"""Paths whose streams know `stream_options`. The stream of /v1/responses always ends with usage."""
OPTION = b'"stream_options":{"include_usage":true}'
EVENT_ENDS = (b"\n\n", b"\r\n\r\n")
MAX_HELD_BYTES = 256 * 1024
"""Of an event that has not arrived whole. A longer one passes as it comes."""
MAX_COUNTED_BYTES = 4 * 1024 * 1024
"""Of a whole answer that is looked into for its usage."""


class Used(Struct):
    """Tokens, by the names of both of OpenAI's APIs."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0

    @property
    def prompt(self) -> int:
        return max(0, self.prompt_tokens or self.input_tokens or (self.total_tokens if not self.completion else 0))

    @property
    def completion(self) -> int:
        return max(0, self.completion_tokens or self.output_tokens)


class _Answer(Struct):
    usage: Used | None = None


class _Response(Struct):
    usage: Used | None = None


class _Event(Struct):
    usage: Used | None = None
    choices: list[msgspec.Raw] | None = None
    response: _Response | None = None


_ANSWER = msgspec.json.Decoder(_Answer)
_EVENT = msgspec.json.Decoder(_Event)


def with_usage(asked: Asked, path: bytes) -> tuple[bytes, bool]:
    """The body that asks for usage in the stream, and whether the caller did not ask for it."""
    if not asked.stream or asked.wants_usage or path not in COUNTED_IN_STREAMS:
        return asked.body, False
    if not asked.has_options and b'"stream_options"' not in asked.body:
        body = asked.body.rstrip()
        return body[:-1] + b"," + OPTION + b"}", True
    fields = msgspec.json.decode(asked.body, type=dict[str, msgspec.Raw])
    options = msgspec.json.decode(fields.get("stream_options") or b"null", type=dict[str, msgspec.Raw] | None)
    fields["stream_options"] = msgspec.Raw(msgspec.json.encode({**(options or {}), "include_usage": True}))
    return msgspec.json.encode(fields), True


class StreamUsage:
    """Follows a stream of events. `hides`: the event with the usage is not passed on.

    `events` counts the events that passed, `used` is the last usage that was seen.
    """

    def __init__(self, hides: bool) -> None:
        self._hides = hides
        self._rest = b""
        self.events = 0
        self.used: Used | None = None

    def feed(self, data: bytes) -> bytes:
        """The bytes to pass on now."""
        if not self._rest and data.endswith(b"\n\n") and b'"usage"' not in data:
            self.events += data.count(b"\n\n")
            return data
        held = self._rest + data
        cut = max(
            held.rfind(b"\n\n") + 2 if b"\n\n" in held else 0, held.rfind(b"\r\n\r\n") + 4 if b"\r\n\r\n" in held else 0
        )
        whole, self._rest = held[:cut], held[cut:]
        if len(self._rest) > MAX_HELD_BYTES:
            whole, self._rest = held, b""
        if b'"usage"' not in whole:
            self.events += whole.count(b"\n\n")
            return whole
        return b"".join(event for event in _split(whole) if self._passes(event))

    def finish(self) -> bytes:
        """What is left at the end."""
        rest, self._rest = self._rest, b""
        return rest if not rest or self._passes(rest) else b""

    def _passes(self, event: bytes) -> bool:
        self.events += 1
        if b'"usage"' not in event:
            return True
        data = b"".join(
            line[5:].strip() for line in event.replace(b"\r\n", b"\n").split(b"\n") if line.startswith(b"data:")
        )
        try:
            found = _EVENT.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return True
        used = found.usage or (found.response.usage if found.response else None)
        if used is None:
            return True
        self.used = used
        if self._hides and found.choices == []:
            self.events -= 1
            return False
        return True


def _after_last(data: bytes, end: bytes) -> int:
    at = data.rfind(end)
    return at + len(end) if at >= 0 else 0


def _split(whole: bytes) -> list[bytes]:
    """Events with their ends."""
    found, start = [], 0
    while start < len(whole):
        ends = [at + len(end) for end in EVENT_ENDS if (at := whole.find(end, start)) >= 0]
        stop = min(ends, default=len(whole))
        found.append(whole[start:stop])
        start = stop
    return found


def of_answer(body: bytes) -> Used | None:
    """The usage of a whole answer; None where it has none."""
    if b'"usage"' not in body or len(body) > MAX_COUNTED_BYTES:
        return None
    try:
        return _ANSWER.decode(body).usage
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
