"""A server on a real socket that answers whatever bytes it is told to."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def server(answer: Callable[[bytes], bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Answers each request with bytes, then hangs up; yields its URL and the requests that it got."""
    got: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            head = b""
            while not head.endswith(b"\r\n\r\n") and (line := self.rfile.readline()):
                head += line
            length = re.search(rb"Content-Length: (\d+)", head)
            self.rfile.read(int(length[1]) if length else 0)
            got.append(head)
            with suppress(OSError):  # the agent had enough
                self.wfile.write(answer(head))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}", got
        listening.shutdown()


def http(body: bytes = b"", status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body
