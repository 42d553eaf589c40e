"""A DynamoDB over HTTP that writes down what it is asked: the operation, and the size of an item that it returns.

The database is moto's, which is not atomic: one lock around each request makes it so.
"""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from botocore.awsrequest import AWSPreparedRequest
from botocore.compat import HTTPHeaders
from moto.core.request import normalize_request
from moto.dynamodb.responses import DynamoHandler


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


class CountingDynamoDB:
    """`calls` is what was asked, in order."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._lock = threading.Lock()

    def start(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, headers: dict[str, str], sent: bytes) -> tuple[int, bytes]:
        """What moto says to one request."""
        url = "https://dynamodb.us-east-1.amazonaws.com/"
        request = normalize_request(AWSPreparedRequest("POST", url, HTTPHeaders.from_dict(headers), sent, False))
        with self._lock:
            status, _, got = DynamoHandler.dispatch(request, url, request.headers)
        body = got if isinstance(got, bytes) else got.encode()
        self._note(headers.get("X-Amz-Target", ""), sent, body)
        return status, body

    def _note(self, target: str, sent: bytes, got: bytes) -> None:
        attributes = json.loads(got or b"{}").get("Attributes", {})
        held = sum(len(name.encode()) + size(value) for name, value in attributes.items())
        self.calls.append(Call(target.rpartition(".")[2], str(json.loads(sent).get("TableName")), held))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        database = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"]))
                status, got = database.answer(dict(self.headers), sent)
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.0")
                self.send_header("Content-Length", str(len(got)))
                self.end_headers()
                self.wfile.write(got)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler
