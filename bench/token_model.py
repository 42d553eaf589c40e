"""A model that costs next to nothing: OpenAI's API over asyncio, a fixed token as often as it is asked for.

    python -m bench.token_model MODEL --host HOST --port PORT …      (vLLM's other flags are ignored)

A request's `max_tokens` is how many tokens its answer has. With `stream`, `user` is how many tokens it sends in a
second; 0 sends them without a pause. The agent runs it in place of vLLM, so that the way to the model is measured.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

TOKEN = (
    b'data: {"id":"chatcmpl-3f6c1f0e9b1d4a52","object":"chat.completion.chunk","created":1795000000,"model":"bench",'
    b'"choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}\n\n'
)
USAGE = b'data: {"id":"chatcmpl-3f6c1f0e9b1d4a52","object":"chat.completion.chunk","choices":[],"usage":%s}\n\n'
END = b"data: [DONE]\n\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


TOKEN_CHUNK = chunk(TOKEN)


def usage(tokens: int) -> bytes:
    return b'{"prompt_tokens":3,"completion_tokens":%d,"total_tokens":%d}' % (tokens, tokens + 3)


def answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    return head + body


def completion(tokens: int) -> bytes:
    return answer(
        b'{"id":"chatcmpl-3f6c1f0e9b1d4a52","object":"chat.completion","model":"bench","choices":[{"index":0,"message":'
        b'{"role":"assistant","content":"%s"},"finish_reason":"stop"}],"usage":%s}'
        % (b" token" * tokens, usage(tokens))
    )


class Model(asyncio.Protocol):
    """One connection, which sends one request after another."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._received = b""
        self._is_paused = False
        self._left = 0
        self._tokens = 0
        self._pause = 0.0
        self._due = 0.0
        self._has_usage = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._loop = asyncio.get_running_loop()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._left:
            self._stream()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while not self._left and (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            _, _, after = head.partition(b"\r\ncontent-length:")
            length = end + 4 + int(after.partition(b"\r\n")[0] or 0)
            if len(self._received) < length:
                return
            body, self._received = self._received[end + 4 : length], self._received[length:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"post "):
            self._complete(json.loads(body))
        elif head.startswith(b"get /v1/models"):
            listed = {"object": "list", "data": [{"id": self._name, "object": "model", "owned_by": "bench"}]}
            self._transport.write(answer(json.dumps(listed).encode()))
        else:
            self._transport.write(answer(b"{}"))

    def _complete(self, request: dict[str, Any]) -> None:
        tokens = int(request.get("max_tokens") or 1)
        if not request.get("stream"):
            self._transport.write(completion(tokens))
            return
        rate = float(request.get("user") or 0)
        self._pause = 1 / rate if rate else 0.0
        self._left = self._tokens = tokens
        self._has_usage = bool((request.get("stream_options") or {}).get("include_usage"))
        self._due = self._loop.time()
        self._transport.write(STREAM_HEAD)
        self._stream()

    def _stream(self) -> None:
        """Send a token, or all that are due; the next one is due later, or in the loop's next pass."""
        if self._transport.is_closing() or self._is_paused:
            return
        self._transport.write(TOKEN_CHUNK)
        self._left -= 1
        if not self._left:
            self._end()
        elif self._pause:
            self._due += self._pause
            self._loop.call_at(self._due, self._stream)
        else:
            self._loop.call_soon(self._stream)

    def _end(self) -> None:
        used = chunk(USAGE % usage(self._tokens)) if self._has_usage else b""
        self._transport.write(used + chunk(END) + b"0\r\n\r\n")
        if self._received:
            self._loop.call_soon(self.data_received, b"")


def option(arguments: list[str], name: str, default: str) -> str:
    return arguments[arguments.index(name) + 1] if name in arguments else default


async def main(arguments: list[str]) -> None:
    name = option(arguments, "--served-model-name", arguments[0])
    address = option(arguments, "--host", "127.0.0.1"), int(option(arguments, "--port", "8000"))
    server = await asyncio.get_running_loop().create_server(lambda: Model(name), *address)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
