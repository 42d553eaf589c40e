"""JSON over one kept connection, for many agents in one process."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

RETRY_SECONDS = 0.5
ANSWER_SECONDS = 60.0
"""A server that is up answers sooner."""


@dataclass
class Trouble:
    """What went wrong, counted. `away` is set while the server is down on purpose: nothing is an error then.

    `kills`: how often the server was killed. A connection from before a kill is closed, whenever it is used again.
    """

    away: bool = False
    kills: int = 0
    answers: int = 0
    interruptions: int = 0
    """Requests that were sent again because the server was killed."""
    errors: Counter[str] = field(default_factory=Counter)

    def error(self, text: str) -> None:
        self.errors[text[:200]] += 1


class Unanswered(Exception):
    """A request that got an error; it is counted already."""


class AsyncCaller:
    """Requests one after another. A request that a killed server left without an answer is sent again."""

    def __init__(self, port: int, trouble: Trouble, bearer: str = "") -> None:
        self._port, self._trouble = port, trouble
        self.bearer = bearer
        self._lock = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._opened_after = 0
        """The kills before the connection was opened."""

    async def call(self, method: str, path: str, body: Any = None, key: str = "") -> Any:
        """The parsed answer. `key` is an Idempotency-Key. Raises Unanswered for a status that is not 2xx."""
        data = self._request(method, path, body, key)
        async with self._lock:
            status, content = await self._until_answered(data, f"{method} {path}")
        if status // 100 != 2:
            self._trouble.error(f"{method} {_shape(path)}: {status} {content[:120].decode(errors='replace')}")
            raise Unanswered
        self._trouble.answers += 1
        return json.loads(content)

    def _request(self, method: str, path: str, body: Any, key: str) -> bytes:
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(content)}"]
        lines += [f"Authorization: Bearer {self.bearer}"] if self.bearer else []
        lines += [f"Idempotency-Key: {key}"] if key else []
        return "\r\n".join([*lines, "", ""]).encode() + content

    async def _until_answered(self, data: bytes, what: str) -> tuple[int, bytes]:
        while True:
            was_away = self._trouble.away
            is_new = self._streams is None
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await self._exchange(data)
            except (OSError, EOFError, TimeoutError) as error:
                self.close()
                if was_away or self._trouble.away or (not is_new and self._opened_after < self._trouble.kills):
                    self._trouble.interruptions += 1
                else:
                    self._trouble.error(f"{what.split()[0]} {_shape(what.split()[1])}: {type(error).__name__}")
                await asyncio.sleep(RETRY_SECONDS)

    async def _exchange(self, data: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._opened_after = self._trouble.kills
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(data)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        content = await reader.readexactly(length)
        if "connection: close" in head:
            self.close()
        return int(head[9:12]), content

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _shape(path: str) -> str:
    """The path without ids, so that errors of many workers count as one."""
    return "/".join("…" if len(part) > 30 else part for part in path.partition("?")[0].split("/"))
