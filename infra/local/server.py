"""Chalice's local server as an operator meets it: its start, its first words, its minute hand and its end."""

from __future__ import annotations

import errno
import functools
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from chalice.app import Chalice, ScheduledEventConfig
from chalice.config import Config

from chalicelib.routes.wheels import lock
from infra import wheelhouse
from infra.local.schedule import Minute
from infra.local.store import DataDirectory
from muster.api.structs import read_structs

if TYPE_CHECKING:
    from infra.local.dynamodb import Engine
    from infra.local.embedded_gateway import EmbeddedGateway

GATEWAY = "MUSTER_SERVE_GATEWAY"
"""The variable that `serve` sets to "1" to serve models beside the API."""


@dataclass(frozen=True)
class Site:
    """`engine` is None where another database is used."""

    data: DataDirectory
    engine: Engine | None


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on the address. Raises OSError."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


class DevServer:
    """What `chalice local` and `serve` both run, in the place of chalice's LocalDevServer."""

    def __init__(self, site: Site, app_object: Chalice, config: Config, host: str, port: int) -> None:
        # Not before prepare() has set the environment that the app reads.
        from infra.local.http_server import http_server

        self._site, self._app, self._host = site, app_object, host
        try:
            self._listener = listen(host, port)
        except OSError as error:
            reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
            stop(f"muster: cannot listen on {host} port {port}: {reason}")
        self.port = self._listener.getsockname()[1]
        self._gateway = self._embedded_gateway() if os.environ.get(GATEWAY) == "1" else None
        self._server = http_server(app_object, site.engine, self._gateway)

    @property
    def url(self) -> str:
        return f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{self.port}"

    def _embedded_gateway(self) -> EmbeddedGateway:
        from infra.local.embedded_gateway import EmbeddedGateway, kept_key

        own = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self._host)
        own_url = f"http://{own}:{self.port}" if own else self.url
        self._gateway_key = kept_key(self._site.data.path)
        public = os.environ.get("MUSTER_GATEWAY_URL") or own_url
        return EmbeddedGateway(self._site.data.path, self._gateway_key, public, own_url)

    def serve_forever(self) -> None:
        from chalicelib.auth import tokens
        from chalicelib.store import tables
        from chalicelib.workers import liveness

        tables.create_tables()
        read_structs()
        introduce(self._site.data, time.time())
        if self._gateway is not None:
            tokens.seed_key(self._gateway_key, "embedded gateway", "gateway", time.time())
        tasks = [functools.partial(run_schedule, self._app)]
        Minute([*tasks, *([self._site.engine.sweep] if self._site.engine else [])], liveness.clock_was_put_back).start()
        if wheelhouse.missing(wheelhouse.folder(), lock(), lock().platforms):
            print("No wheels for hosts yet: run `make wheelhouse` before a host runs join.sh.", flush=True)
        print(f"Serving on {self.url}  (data in {self._site.data.path})", flush=True)
        print(f"  Console: open {self.url}/ in a browser", flush=True)
        print(f"  Command line: muster login {self.url}", flush=True)
        if self._gateway is not None:
            print(f"  Models: {self.url}/v1 (keys: muster keys create app --role caller)", flush=True)
        try:
            self._server.run([self._listener])
        finally:
            if self._site.engine:
                self._site.engine.close()

    def shutdown(self) -> None:
        """End `serve_forever`, from another thread."""
        self._server.should_exit = True


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
