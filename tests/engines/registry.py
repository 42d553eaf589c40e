"""A registry that speaks as much of the distribution protocol as `docker pull` asks for, and breaks when told to."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
PIECE = 64 * 1024


class Registry(ThreadingHTTPServer):
    """Has one image, `model:1`, of as many layers as `sizes` (bytes that do not compress).

    `locked` asks for credentials; `asked` counts requests by method and path. While `stalled` is set, layers stop in
    the middle; while `mute` is, nothing is answered at all.
    """

    daemon_threads = True

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.locked = False
        self.dead = False
        self.stalled = threading.Event()
        self.mute = threading.Event()
        self.released = threading.Event()
        self.asked: Counter[str] = Counter()
        self.blobs: dict[str, bytes] = {}
        self.manifest = self._make(sizes)

    @property
    def reference(self) -> str:
        return f"127.0.0.1:{self.server_port}/model:1"

    def die(self) -> None:
        """Layers that stopped in the middle break off, and nobody answers any more."""
        self.socket.close()
        self.dead = True
        self.released.set()

    def _make(self, sizes: tuple[int, ...]) -> bytes:
        return self._image(self._weights(sizes), [])

    def _weights(self, sizes: tuple[int, ...]) -> list[bytes]:
        return [_tar(f"weights-{number}", os.urandom(size)) for number, size in enumerate(sizes)]

    def _image(self, tars: list[bytes], entrypoint: list[str]) -> bytes:
        """Its manifest."""
        layers, diff_ids = [], []
        for tar in tars:
            diff_ids.append(_digest(tar))
            layers.append(self._keep(gzip.compress(tar, 1), LAYER))
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": entrypoint},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
        kept = self._keep(json.dumps(config).encode(), CONFIG)
        return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": kept, "layers": layers}).encode()

    def _keep(self, blob: bytes, media_type: str) -> dict[str, Any]:
        self.blobs[_digest(blob)] = blob
        return {"mediaType": media_type, "size": len(blob), "digest": _digest(blob)}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Registry

    def do_GET(self) -> None:
        self.server.asked[f"{self.command} {self.path}"] += 1
        if self.server.mute.is_set():
            self.server.released.wait(60)
        if self.server.locked:
            self._send(401, b'{"errors":[{"code":"UNAUTHORIZED"}]}', "application/json")
        elif self.path == "/v2/":
            self._send(200, b"{}", "application/json")
        elif self.path in ("/v2/model/manifests/1", f"/v2/model/manifests/{_digest(self.server.manifest)}"):
            self._send(200, self.server.manifest, MANIFEST)
        elif blob := self.server.blobs.get(self.path.rpartition("/")[2]):
            self._send(200, blob, "application/octet-stream")
        else:
            self._send(
                404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}', "application/json"
            )

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Docker-Content-Digest", _digest(body))
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="test"')
        self.end_headers()
        for start in range(0, len(body) if self.command == "GET" else 0, PIECE):
            if start > len(body) // 2 and self.server.stalled.is_set():
                self.server.released.wait(60)
            if self.server.dead:
                self.connection.close()
                return
            self.wfile.write(body[start : start + PIECE])


@contextmanager
def registry(*sizes: int, kind: type[Registry] = Registry) -> Iterator[Registry]:
    server = kind(sizes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _tar(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
