"""The bodies that a gateway holds, bounded in bytes: of all keys together, and of one key.

A request's body is held until its answer has ended, since another replica may have to get it. Its place is taken by
its Content-Length before any of it is read.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from muster.gateway.openai_errors import OpenAIError

MOST_BYTES = 512 * 1024 * 1024
RETRY_AFTER_SECONDS = 2.0
MAX_DIGITS = 18


class Bodies:
    """`most_each` is the limit of one body, `most` that of all together; both are in bytes.

    One key has half of them at most, so that it leaves room for the others, but always room for one body.
    """

    def __init__(self, most_each: int, most: int = MOST_BYTES) -> None:
        self.most_each = most_each
        self._most = max(most, most_each)
        self._most_per_key = max(self._most // 2, most_each)
        self._by_key: Counter[str] = Counter()
        self._bytes = 0

    @contextmanager
    def place(self, key_id: str, size: int) -> Iterator[None]:
        """Room for a body of `size` bytes. Raises OpenAIError where there is none."""
        if size > self.most_each:
            message = f"the body is larger than {self.most_each} bytes, which is what this gateway takes (--max-body)"
            raise OpenAIError(413, "body_too_large", message)
        if self._by_key[key_id] + size > self._most_per_key:
            message = "the requests of this API key that are being answered are too large together"
            raise OpenAIError(
                429, "bodies_too_large", f"{message}; repeat the request later", retry_after=RETRY_AFTER_SECONDS
            )
        if self._bytes + size > self._most:
            message = "the requests that this gateway is answering are too large together; repeat the request later"
            raise OpenAIError(503, "gateway_full", message, retry_after=RETRY_AFTER_SECONDS)
        self._by_key[key_id] += size
        self._bytes += size
        try:
            yield
        finally:
            self._by_key -= Counter({key_id: size})
            self._bytes -= size


def declared(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """The Content-Length in bytes. Without one there is no body: the server takes none that is sent in chunks."""
    length = next((value for name, value in headers if name == b"content-length"), b"0")
    return int(length) if length.isdigit() and len(length) <= MAX_DIGITS else sys.maxsize
