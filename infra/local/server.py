"""Chalice's local server as an operator meets it: its start, its first words, its minute hand and its end."""

from __future__ import annotations

import errno
import functools
import logging
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, NoReturn

from chalice.app import Chalice, ScheduledEventConfig
from chalice.config import Config
from chalice.local import LocalDevServer, ThreadedHTTPServer

from chalicelib.routes.wheels import lock
from infra import wheelhouse
from infra.local.connections import Connections, room
from infra.local.http_server import Handler
from infra.local.schedule import Minute
from infra.local.store import DataDirectory
from muster.api.structs import read_structs

if TYPE_CHECKING:
    from infra.local.dynamodb import Engine

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Site:
    """`engine` is None where another database is used."""

    data: DataDirectory
    engine: Engine | None


class HttpServer(ThreadedHTTPServer):
    """A thread for each connection, so that long waits starve nobody, and as many connections as there is room for."""

    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: Any, connections: Connections | None = None) -> None:
        self.connections = connections or Connections(room())
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Without http.server's look-up of the host's name, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.opened(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.closed(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.exception("a connection from %s failed", client_address[0])


class DevServer(LocalDevServer):
    """What `chalice local` and `serve` both run."""

    def __init__(self, site: Site, app_object: Chalice, config: Config, host: str, port: int) -> None:
        self._site = site
        try:
            super().__init__(app_object, config, host, port, handler_cls=Handler, server_cls=HttpServer)
        except OSError as error:
            reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
            stop(f"muster: cannot listen on {host} port {port}: {reason}")
        self.port = self.server.server_address[1]

    def serve_forever(self) -> None:
        from chalicelib.store import tables  # not before prepare() has set the environment that it reads
        from chalicelib.workers import liveness

        tables.create_tables()
        read_structs()
        introduce(self._site.data, time.time())
        tasks = [functools.partial(run_schedule, self.app_object)]
        Minute([*tasks, *([self._site.engine.sweep] if self._site.engine else [])], liveness.clock_was_put_back).start()
        host = f"[{self.host}]" if ":" in self.host else self.host
        if wheelhouse.missing(wheelhouse.folder(), lock(), lock().platforms):
            print("No wheels for hosts yet: run `make wheelhouse` before a host runs join.sh.", flush=True)
        print(f"Serving on http://{host}:{self.port}  (data in {self._site.data.path})", flush=True)
        self.server.serve_forever()


def introduce(data: DataDirectory, now: float) -> None:
    """Make the first credentials; those that the environment does not give are shown, once. `now`: epoch seconds."""
    from chalicelib.auth import tokens

    lines = []
    for variable, title, kind, seed in (
        ("MUSTER_ADMIN_KEY", "Admin API key", "key", tokens.seed_admin_key),
        ("MUSTER_REGISTRATION_TOKEN", "Registration token", "registration", tokens.seed_registration_token),
    ):
        given = os.environ.get(variable)
        if given:
            seed(given, now)
        elif not data.introduced:
            secret = tokens.new_secret(kind)  # type: ignore[arg-type]
            seed(secret, now)
            lines.append(f"  {title:20}{secret}")
    if lines:
        print("First start. Keep these; they are not shown again:", *lines, sep="\n", flush=True)
    data.mark_introduced()


def run_schedule(app: Chalice, now: float) -> None:
    """Call the app's scheduled functions, which chalice's local server never does. `now`: epoch seconds."""
    event = {"version": "0", "account": "", "region": "", "detail": {}, "detail-type": "Scheduled Event"}
    event |= {"source": "aws.events", "time": time.strftime("%FT%TZ", time.gmtime(now)), "id": "", "resources": []}
    for source in app.event_sources:
        if isinstance(source, ScheduledEventConfig):
            app.handler_map[source.name](event, None)


def stop(message: str) -> NoReturn:
    """End the process with exit code 1, from whatever thread: chalice's reloader serves in one of its own."""
    print(message, file=sys.stderr, flush=True)
    if threading.current_thread() is threading.main_thread():
        raise SystemExit(1)
    os._exit(1)
