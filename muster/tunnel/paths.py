"""Which paths of a model a gateway may ask for: OpenAI's inference routes as vLLM serves them, and nothing else.

vLLM also has administrative routes below /v1/ (to load and unload adapters, for example), and others without a prefix.
So the paths are listed one by one. A path is decoded once and compared whole; what two programs could read differently
is refused. The gateway and the agent check alike, so that neither has to trust the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

INFERENCE = frozenset(
    f"/v1/{name}"
    for name in """
    audio/speech audio/transcriptions audio/translations chat/completions classify completions embeddings
    images/generations messages moderations pooling rerank responses score
    """.split()
)
"""Routes that compute an answer from the body of a POST. vLLM's own, and those of servers that speak its dialect."""
MAX_BYTES = 2048
ESCAPED = re.compile(rb"%(?![0-9A-Fa-f]{2})|%(?:2[fF]|5[cC]|25|3[bB]|00)")
"""A percent sign that begins no escape, and the escapes of `/`, a backslash, `%`, `;`, and NUL."""
PLAIN = re.compile(rb"/[A-Za-z0-9._~!$&'()*+,:=@/-]*\Z")
PATTERN = re.compile(r"/[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*")
"""What an owner may add to the list."""


class Refused(Exception):
    """The path is none that a gateway may ask for; the message says why."""


class Paths:
    """The allowed paths. `added` are those of an owner. Raises ValueError for one that could not be compared."""

    def __init__(self, added: Iterable[str] = ()) -> None:
        extra = list(added)
        for path in extra:
            if not PATTERN.fullmatch(path) or {".", ".."} & set(path.split("/")):
                raise ValueError(
                    f"expected a path such as /v1/tokenize, without `..`, queries, or escapes, got {path!r}"
                )
        self._allowed = INFERENCE | frozenset(extra)

    def check(self, target: bytes) -> bytes:
        """The target (a path, with a query or without) as it may be sent to a model: decoded once, without the query.

        Raises Refused.
        """
        path = target.partition(b"?")[0]
        if len(target) > MAX_BYTES:
            raise Refused("the path is too long")
        if b"#" in target or ESCAPED.search(path):
            raise Refused("the path has an escape that is not taken")
        clean = unquote_to_bytes(path)
        if not PLAIN.match(clean) or b"//" in clean or any(part in (b".", b"..") for part in clean.split(b"/")):
            raise Refused("the path is not a plain one")
        if clean.decode("ascii") not in self._allowed:
            raise Refused("no model is asked for anything there")
        return clean
