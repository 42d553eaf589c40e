"""A model that answers whatever arrives, and says what that was: an error of the way to it is none of its own.

python -m tests.security.tolerant_model MODEL --host HOST --port PORT …
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from bench.token_model import Model, answer, option

MOST_TOKENS = 10_000_000


class TolerantModel(Model):
    """`max_tokens` and `user` are for streams as in bench.token_model; any other answer repeats the request."""

    def _answer(self, head: bytes, body: bytes) -> None:
        if not head.startswith(b"post "):
            super()._answer(head, body)
            return
        try:
            request: Any = json.loads(body)
        except (ValueError, RecursionError):
            request = None
        tokens = request.get("max_tokens") if isinstance(request, dict) else None
        if isinstance(request, dict) and request.get("stream") is True and is_count(tokens):
            self._complete({"max_tokens": tokens, "stream": True, "user": 0})
        else:
            self._transport.write(answer(json.dumps({"head": head.decode("latin-1"), "length": len(body)}).encode()))


def is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_TOKENS


async def main(arguments: list[str]) -> None:
    name = option(arguments, "--served-model-name", arguments[0])
    address = option(arguments, "--host", "127.0.0.1"), int(option(arguments, "--port", "8000"))
    server = await asyncio.get_running_loop().create_server(lambda: TolerantModel(name), *address)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
