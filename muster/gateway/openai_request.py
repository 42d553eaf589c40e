"""What the gateway has to know of a request for a model: its name, whether the answer is streamed, whose turn it is.

The body is read once, and sent on as it came, but for the usage that is asked for in a stream (token_usage.py). A body
that two programs could read differently is refused, since keys are good for certain models only.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw, Struct

from muster.gateway.openai_errors import OpenAIError

MAX_MODEL_CHARACTERS = 512
MAX_FIELD_BYTES = 4096
MAX_PARTS = 64
FORM = re.compile(rb'multipart/form-data\s*;.*?boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
NAME = re.compile(rb';\s*name="([^"]{1,100})"', re.IGNORECASE)
WATCHED = (b'"model"', b'"stream"', b'"stream_options"')
"""Fields that the gateway reads. One that occurs twice in a body is looked at more closely."""
ESCAPED = re.compile(rb'"[a-z_]{0,14}\\u00[567][0-9A-Fa-f][\w\\]{0,84}"\s*:')
"""A name with an escape, which may be that of such a field."""


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _Body(Struct):
    model: str
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    messages: list[Raw] | None = None


@dataclass(frozen=True)
class Asked:
    """`body` is what is sent on. `turn` identifies the conversation by its first turn; None where there is none.

    `wants_usage`: whether the caller asked for usage in the stream.
    """

    model: str
    stream: bool
    body: bytes
    turn: bytes | None = None
    wants_usage: bool = False
    has_options: bool = False


def read(body: bytes, content_type: bytes) -> Asked:
    """Raises OpenAIError."""
    form = FORM.match(content_type)
    if form is not None:
        return _of_form(body, b"--" + (form[1] or form[2]))
    if content_type and b"json" not in content_type.lower():
        raise _invalid("expected Content-Type: application/json, or multipart/form-data for audio")
    return _of_json(body)


def _of_json(body: bytes) -> Asked:
    if not body:
        raise _invalid('the body is empty; expected JSON such as {"model": "…", "messages": […]}')
    try:
        found = msgspec.json.decode(body, type=_Body)
        if any(body.count(name) > 1 for name in WATCHED) or ESCAPED.search(body):
            _refuse_twice(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), param=_field(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise _invalid(f"the body is not JSON: {reason}") from error
    options = found.stream_options
    return Asked(
        _checked(found.model),
        bool(found.stream),
        body,
        _turn(found.messages),
        bool(options and options.include_usage),
        options is not None,
    )


def _refuse_twice(body: bytes) -> None:
    """A field may occur again in a prompt, but not twice in the body itself. Raises OpenAIError."""

    def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise _invalid(f"the field {twice!r} occurs twice", param=twice[:100])
        return dict(pairs)

    json.loads(body, object_pairs_hook=once)


def _of_form(body: bytes, border: bytes) -> Asked:
    """The fields `model` and `stream` of a form; files are not looked into."""
    fields: dict[bytes, bytes] = {}
    parts = body.split(border)
    if len(parts) < 3 or not parts[-1].startswith(b"--") or len(parts) > MAX_PARTS:
        raise _invalid("the body is not a complete multipart form")
    for part in parts[1:-1]:
        head, separator, content = part.partition(b"\r\n\r\n")
        name = NAME.search(head)
        if not separator or name is None or b"filename" in head.lower():
            continue
        if name[1] in fields:
            raise _invalid(f"the field {name[1].decode('latin-1')!r} occurs twice")
        if name[1] in (b"model", b"stream") and len(content) > MAX_FIELD_BYTES:
            raise _invalid(f"the field {name[1].decode()} is too long")
        fields[name[1]] = content.removesuffix(b"\r\n")
    if b"model" not in fields:
        raise _invalid("the field model is missing", param="model")
    try:
        model = fields[b"model"].decode()
    except UnicodeDecodeError as error:
        raise _invalid("the field model is not UTF-8", param="model") from error
    return Asked(_checked(model), fields.get(b"stream", b"").lower() in (b"true", b"1"), body)


def _checked(model: str) -> str:
    if not model or len(model) > MAX_MODEL_CHARACTERS or not model.isprintable():
        raise _invalid("model: expected a printable name", param="model")
    return model


def _turn(messages: list[Raw] | None) -> bytes | None:
    """A digest of the first turn: what the system says, and the first message after it."""
    if not messages:
        return None
    first = bytes(messages[0])
    is_system = b'"system"' in first[:200] or b'"developer"' in first[:200]
    turn = first + (bytes(messages[1]) if is_system and len(messages) > 1 else b"")
    return hashlib.blake2b(turn, digest_size=8).digest()


def _field(text: str) -> str | None:
    """The field of msgspec's message: it says `Object missing required field `model``, or `… - at `$.stream``."""
    found = re.search(r"`\$\.(\w+)|field `(\w+)`", text)
    return (found[1] or found[2]) if found else None


def _invalid(message: str, param: str | None = None) -> OpenAIError:
    return OpenAIError(400, "invalid_request", message[:1000], param=param)
