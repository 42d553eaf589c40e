"""A server that answers what it is told to, or closes the connection: what no adapter can stand in for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

BODY = b'{"status": "ok", "version": "x"}'
Answer = tuple[int, Mapping[str, str]] | None
"""Status and headers, around one body; None is an answer that was lost."""


class Flaky:
    """`seen` are the requests, one a connection."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.seen: list[str] = []

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.seen.append(connection.recv(65536).decode())
                answer = self._answers.pop(0) if self._answers else None
                if answer is not None:
                    connection.sendall(_response(*answer))


def _response(status: int, headers: Mapping[str, str]) -> bytes:
    head = {**headers, "Content-Length": str(len(BODY)), "Connection": "close"}
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    return "\r\n".join(lines).encode() + BODY
