"""The account of the tests, as a process of its own: python -m tests.infra.cloud.moto_server

Prints its URL. One request is handled at a time, since moto is not atomic.
"""

from __future__ import annotations

import socket

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from tests.infra.cloud.moto_extensions import install


def main() -> None:
    install()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", port, app, request_handler=MotoRequestHandler, fd=listener.fileno())
    print(f"http://127.0.0.1:{port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
