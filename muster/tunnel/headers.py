"""Which headers pass between callers and models, both ways. Everything else stays behind.

What frames a message (`content-length`, `transfer-encoding`), what concerns one connection, and what carries a
credential is made anew at each end, so none of it is listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]

TO_MODEL = frozenset(b"accept content-type traceparent tracestate x-request-id".split())
FROM_MODEL = frozenset(
    b"""cache-control content-disposition content-language content-type openai-processing-ms retry-after
    x-request-id x-process-time""".split()
)
REFUSAL = b"muster-refusal"
"""A header of the agent's own answers: why the request did not reach a model."""
NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+\Z")
BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
MAX_VALUE_BYTES = 4096


def to_model(given: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of a caller's request that a model gets. A header with a control character is left out."""
    return _passing(given, TO_MODEL)


def from_model(given: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of a model's answer that a caller gets."""
    return _passing(given, FROM_MODEL)


def _passing(given: Iterable[tuple[bytes, bytes]], names: frozenset[bytes]) -> Headers:
    found: dict[bytes, bytes] = {}
    for name, value in given:
        key = name.lower()
        if key in names and key not in found and len(value) <= MAX_VALUE_BYTES and not BAD_VALUE.search(value):
            found[key] = value.strip()
    return list(found.items())
