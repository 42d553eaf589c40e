"""A proxy in front of a DynamoDB that writes down what passes: the operation, and the item that an update returned."""

import json
import threading
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Call:
    """`bytes` is the size of the item that an UpdateItem answered with, 0 where it answered with none."""

    operation: str
    table: str
    bytes: int


def size(value: Any) -> int:
    """A stored attribute's size in bytes as DynamoDB counts it, to within what its rounding of numbers may add."""
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return len(content.lstrip("-").replace(".", "").strip("0")) // 2 + 2
        case "B":
            return len(content) * 3 // 4
        case "M":
            return 3 + sum(len(name.encode()) + size(inner) + 1 for name, inner in content.items())
        case "L":
            return 3 + sum(size(inner) + 1 for inner in content)
        case "SS":
            return sum(len(one.encode()) for one in content)
        case _:
            return 1


@dataclass
class CountingProxy:
    """Forwards to `upstream_port` on this host; `calls` is what passed, in order."""

    upstream_port: int
    calls: list[Call] = field(default_factory=list)

    def start(self) -> None:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"]))
                upstream = HTTPConnection("127.0.0.1", proxy.upstream_port)
                upstream.request("POST", self.path, sent, dict(self.headers))
                answer = upstream.getresponse()
                got = answer.read()
                proxy.note(self.headers.get("X-Amz-Target", ""), sent, got)
                self.send_response(answer.status)
                self.send_header("Content-Type", "application/x-amz-json-1.0")
                self.send_header("Content-Length", str(len(got)))
                self.end_headers()
                self.wfile.write(got)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def note(self, target: str, sent: bytes, got: bytes) -> None:
        attributes = json.loads(got or b"{}").get("Attributes", {})
        held = sum(len(name.encode()) + size(value) for name, value in attributes.items())
        self.calls.append(Call(target.rpartition(".")[2], str(json.loads(sent).get("TableName")), held))

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
