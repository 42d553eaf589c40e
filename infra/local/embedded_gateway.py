"""The gateway inside of `serve`: models at the address of the control plane, /v1 beside /api, from one process.

It is the gateway of `muster gateway serve`, with its own API key, and asks the control plane over HTTP as any other
gateway does. Its routes and its ledger are in the data directory.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from infra.local.answers import refused
from muster.api.errors import ApiError
from muster.gateway import gateway_process
from muster.gateway.config import GatewayConfig
from muster.gateway.gateway_process import Gateway
from muster.serving.answers import Answer
from muster.tunnel.protocol import PATH as TUNNEL

DRAIN_SECONDS = 4.0
"""Of the 10 seconds after which Docker kills."""
ITS_OWN = frozenset((TUNNEL, "/metrics", "/healthz"))


def is_of_models(path: str) -> bool:
    """Whether the gateway answers there, and not the control plane."""
    return path == "/v1" or path.startswith("/v1/") or path in ITS_OWN


def refuse(error: ApiError, path: bytes) -> Answer:
    """In OpenAI's shape where models are asked, and in the API's elsewhere."""
    if not is_of_models(path.decode("latin-1")):
        return refused(error, path)
    return gateway_process.refused(error, path)


def kept_key(folder: Path) -> str:
    """The gateway's API key, which is made once, and which no one else can read."""
    path = folder / "gateway-key"
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        secret = f"mst_key_{secrets.token_urlsafe(32)}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secret)
        return secret


class EmbeddedGateway:
    """`url` is where agents and callers reach the process, `own_url` where it reaches itself."""

    def __init__(self, folder: Path, key: str, url: str, own_url: str) -> None:
        config = GatewayConfig.from_options(
            {"url": url, "control_plane": own_url, "key": key, "data": folder / "gateway", "listen": "127.0.0.1:0"}
        )
        self._config = config
        self._gateway: Gateway | None = None

    async def start(self) -> None:
        """Begin, on the server's event loop."""
        self._gateway = Gateway(self._config, write=lambda text: None)
        await self._gateway.start()

    async def stop(self) -> None:
        """Let running requests end for a moment, which their tunnels have to last for, and then all of it."""
        if self._gateway is not None:
            await self._gateway.drain(DRAIN_SECONDS)
            await self._gateway.stop()

    def beside(self, application: Any) -> Any:
        """An ASGI application that asks the gateway where it answers, and `application` elsewhere."""

        async def both(scope: Any, receive: Any, send: Any) -> None:
            if self._gateway is not None and is_of_models(scope["path"]):
                await self._gateway.application(scope, receive, send)
            else:
                await application(scope, receive, send)

        return both
