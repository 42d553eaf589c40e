"""HTTP as chalice's local server should speak it: quick, patient only so long, and in one error shape.

Chalice writes head and body apart (44 ms a request on a kept connection), reads chunked bodies as the next request and
echoes credentials in errors of its own. Here whatever the app did not answer is `{"error_code", "message"}`.
"""

from __future__ import annotations

import io
import logging
import re
import socket
import time
import uuid
from email.errors import (
    MultipartInvariantViolationDefect,
    NoBoundaryInMultipartDefect,
    StartBoundaryNotFoundDefect,
)
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal

import msgspec
from chalice.app import Chalice
from chalice.config import Config
from chalice.local import ChaliceRequestHandler

from chalicelib.routes.matching import MethodNotAllowed
from infra.local.connections import Connections
from infra.local.lambda_events import Gateway
from muster.api.errors import ApiError
from muster.api.resources import ErrorBody

log = logging.getLogger(__name__)

WRITE_SECONDS = 30.0
DRAIN_SECONDS = 3.0
MAX_BODY_BYTES = 6 * 1024 * 1024
"""What Lambda would be given at most. The app's own limit is lower, and comes after its check of credentials."""
CREDENTIAL = re.compile(r"(mst_[a-z]{3}_)[^/]+")
MAX_DRAIN_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
"""Bytes."""


class Input(io.RawIOBase):
    """A socket's bytes until `deadline` (monotonic seconds); TimeoutError after it, however slowly they drip.

    `ended`: the caller sends nothing more.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.deadline = 0.0
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._connection.settimeout(remaining)
        count = self._connection.recv_into(buffer)
        self.ended |= count == 0
        return count


class Lines(io.BufferedReader):
    """`strange`: a line had a carriage return within it, or a NUL.

    To Python's parser of headers the former ends a line, and not to a proxy in front: one of the two would see a header
    that the other does not.
    """

    strange = False

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        inner = line.removesuffix(b"\n").removesuffix(b"\r")
        self.strange |= b"\r" in inner or b"\0" in inner
        return line


class Handler(ChaliceRequestHandler):
    """One connection. It may say nothing for `idle` seconds, longer than between heartbeats; a request that began has
    `patience` seconds to arrive.
    """

    idle = 75.0
    patience = 30.0
    wbufsize = -1
    disable_nagle_algorithm = True
    default_request_version = "HTTP/1.1"
    """Until a request line is understood: a status line goes with every answer."""
    requestline = ""
    command = ""
    path: str
    rfile: Lines
    local_gateway: Gateway

    def __init__(self, request: Any, client_address: Any, server: Any, app_object: Chalice, config: Config) -> None:
        self.local_gateway = Gateway(app_object, config)
        self._connections: Connections = server.connections
        BaseHTTPRequestHandler.__init__(self, request, client_address, server)

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._input = Input(self.connection)
        self.rfile = Lines(self._input)

    def handle_one_request(self) -> None:
        self._connections.waits(self.connection)
        self._input.deadline = time.monotonic() + self.idle
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True  # the caller has gone; there is nobody to tell

    def parse_request(self) -> bool:
        self._input.deadline = time.monotonic() + self.patience
        self.requestline = self.raw_requestline.decode("iso-8859-1").rstrip("\r\n")
        if len(self.requestline.split()) != 3:
            self.request_version, self.command = self.default_request_version, ""
            self.send_error(400)
            return False
        if not super().parse_request():
            return False
        if self._input.ended:
            raise ConnectionError("the caller left in the middle of a head")
        if self.rfile.strange:
            return self._refused_head("a header line has a carriage return or a NUL in it")
        if len(self.headers.get_all("Host", [])) > 1:
            return self._refused_head("there is more than one Host")
        self.path = re.sub(r"^https?://[^/?]*", "", self.path, flags=re.IGNORECASE)
        return True

    def _refused_head(self, message: str) -> Literal[False]:
        self.close_connection = True
        self._refuse(ApiError("INVALID_REQUEST", message))
        self._hang_up()
        return False

    def handle_expect_100(self) -> bool:
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.wfile.flush()
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server refuses. Its own words would echo the request."""
        if code == 501:  # a method that no route has
            self._generic_handle()
            self.wfile.flush()
        else:
            self.close_connection = True
            reason = {414: "the request line is too long", 431: "the headers are too long or too many"}
            self._refuse(ApiError("INVALID_REQUEST", reason.get(code, "this is not an HTTP/1.1 request")))
            self._hang_up()

    def _generic_handle(self) -> None:
        body, refusal = self._body()
        self._connections.answers(self.connection)
        self.close_connection |= refusal is not None
        try:
            self.local_gateway.check(self.command, self.path)
            if refusal:
                raise refusal
            response = self.local_gateway.handle_request(self.command, self.path, self._joined(), body)
            self._answer(response)
        except ApiError as error:
            self._refuse(error)
        except ConnectionError:
            raise
        except Exception:  # the last line of defence: whatever the app did not handle
            request_id = str(uuid.uuid4())
            log.exception("request %s failed", request_id)
            self._refuse(ApiError("INTERNAL_ERROR", f"this is our fault; the log has it as request {request_id}"))
        if refusal:
            self._hang_up()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = do_OPTIONS = _generic_handle

    def _joined(self) -> dict[str, str]:
        """The headers; one that was sent several times as gateways join it, with commas."""
        return {name: ",".join(self.headers.get_all(name, [])) for name in {header.lower() for header in self.headers}}

    def _body(self) -> tuple[bytes | None, ApiError | None]:
        """The body, or why it was not read; the connection cannot be used any further then."""
        try:
            length = content_length(self.headers)
            return self._read(length), None
        except TimeoutError:
            return None, ApiError("INVALID_REQUEST", f"the body did not arrive within {self.patience:g} seconds")
        except ApiError as error:
            return None, error

    def _read(self, length: int) -> bytes | None:
        body = bytearray()
        while len(body) < length:
            chunk = self.rfile.read1(min(length - len(body), CHUNK_BYTES))
            if not chunk:
                raise ConnectionError("the caller left in the middle of a body")
            body += chunk
            self._connections.received(self.connection, len(chunk))
        return bytes(body) or None

    def _answer(self, response: dict[str, Any]) -> None:
        response = self._handle_binary(response)
        self.connection.settimeout(WRITE_SECONDS)
        self._send_http_response(
            response["statusCode"], {**response["headers"], **response["multiValueHeaders"]}, response["body"]
        )

    def _send_http_response_with_body(self, code: int, headers: Any, body: str | bytes) -> None:
        """HEAD is told what GET would be, and gets no more; neither does whoever has the thing already."""
        data = body if isinstance(body, bytes) else body.encode()
        self.send_response(code)
        if code != HTTPStatus.NOT_MODIFIED:
            headers = {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}
        self._send_headers(headers)
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, error: ApiError) -> None:
        body = msgspec.json.encode(ErrorBody(error.error_code, error.message))
        self.connection.settimeout(WRITE_SECONDS)
        self.send_response(error.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if isinstance(error, MethodNotAllowed):
            self.send_header("Allow", error.allowed)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def end_headers(self) -> None:
        if self.close_connection:
            self.send_header("Connection", "close")
        super().end_headers()

    def _hang_up(self) -> None:
        """Before closing take in what is still being sent: a reset would overtake the answer."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        self._input.deadline = time.monotonic() + DRAIN_SECONDS
        drained = 0
        try:
            while drained < MAX_DRAIN_BYTES and (chunk := self.rfile.read1(65536)):
                drained += len(chunk)
        except TimeoutError:
            pass  # it had its time

    def version_string(self) -> str:
        return "muster"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Without the query and without credentials, wherever somebody put them: others read logs."""
        path = CREDENTIAL.sub(r"\1…", getattr(self, "path", "").partition("?")[0])[:200]
        self.log_message("%s %s %s", int(code), self.command or "-", path)

    def log_error(self, format: str, *args: Any) -> None:
        """Each answer has its line in the log; an idle connection that was closed needs none."""


MULTIPART = (NoBoundaryInMultipartDefect, StartBoundaryNotFoundDefect, MultipartInvariantViolationDefect)
"""What a mail's parser misses in a request whose body it is not given."""


def content_length(headers: Message) -> int:
    """Raises ApiError where a body's end cannot be known, or lies too far away."""
    if any(not isinstance(defect, MULTIPART) for defect in headers.defects):
        raise ApiError("INVALID_REQUEST", "a header line is malformed")
    if any("\n" in value for value in headers.values()):
        # Of a line that goes on in the next, a proxy in front may have read a header of its own.
        raise ApiError("INVALID_REQUEST", "a header line begins with a space")
    if "Transfer-Encoding" in headers:
        raise ApiError("INVALID_REQUEST", "chunked bodies are not taken; send the body with its Content-Length")
    values = set(headers.get_all("Content-Length", ["0"]))
    value = values.pop()
    if values or not re.fullmatch(r"[0-9]{1,18}", value):
        raise ApiError("INVALID_REQUEST", "Content-Length is one number: how many bytes the body has")
    if int(value) > MAX_BODY_BYTES:
        raise ApiError("PAYLOAD_TOO_LARGE", f"a body is at most {MAX_BODY_BYTES} bytes long")
    return int(value)
