"""The app on Muster's HTTP server: its threads, and what ends a wait."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from chalice.app import Chalice

from chalicelib.routes.http import CLOCK, Clock
from chalicelib.store import settings
from infra.local.answers import refused
from infra.local.asgi import INLINE, Application
from infra.local.durability import Grouped
from infra.local.threads import Threads
from muster.serving.http_server import HttpServer, Serving

if TYPE_CHECKING:
    from infra.local.dynamodb import Engine

SPARE_THREADS = 16
"""Threads for requests beside those that wait for workers."""


def http_server(app: Chalice, engine: Engine | None) -> HttpServer:
    """A server of the app that has yet to be given its sockets."""
    drains = threading.Event()

    def sleep(seconds: float) -> None:
        drains.wait(seconds)  # a wait for a worker ends when the server does

    clock = Clock(sleep=sleep)
    threads = Threads(settings.MAX_WAITS + SPARE_THREADS, lambda: CLOCK.set(clock))
    application = Application(app, threads, INLINE, Grouped(engine)) if engine else Application(app, threads)
    return HttpServer(application, Serving(refused), drains=drains)
