"""Where a gateway listens, and its certificate: what can go wrong before anything is served, in words that help."""

from __future__ import annotations

import errno
import socket
import ssl

from muster.gateway.config import GatewayConfig, OptionError


class CannotServe(Exception):
    """The gateway cannot start; the message says what to do."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on the address. Raises CannotServe."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotServe(f"cannot listen on {host}: {error.strerror}; give another --listen") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        reasons = {
            errno.EADDRINUSE: "the port is in use; give another --listen",
            errno.EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE; give another --listen",
            errno.EADDRNOTAVAIL: "this machine does not have the address; give another --listen",
        }
        reason = reasons.get(error.errno or 0, f"{error.strerror}; give another --listen")
        raise CannotServe(f"cannot listen on {host} port {port}: {reason}") from error
    return listener


def load_tls(config: GatewayConfig) -> ssl.SSLContext | None:
    """The certificate and its key; None to serve plain HTTP. Raises OptionError."""
    if config.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key, password=lambda: "")
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or error.strerror or "they cannot be read"
        raise OptionError(
            "--tls-cert", f"{config.tls_cert} and {config.tls_key} are no certificate (PEM) with its key: {reason}"
        ) from error
    return context
