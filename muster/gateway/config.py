"""The options of a gateway, checked: one that cannot work is refused before anything listens, by its name."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

DEFAULT_LISTEN = "127.0.0.1:8080"
DEFAULT_HOLD_SECONDS = 60.0
DEFAULT_OFFLINE_SECONDS = 86400.0
DEFAULT_MAX_BODY_BYTES = 32 * 1024 * 1024
LEAST_BODY_BYTES = 1024
MOST_BODY_BYTES = 1024 * 1024 * 1024
MAX_URL_LENGTH = 512
MAX_SELECTOR_LENGTH = 1024
MAX_KEY_LENGTH = 512
MAX_PATH_LENGTH = 256


class OptionError(Exception):
    """An option cannot be used. `option` is its name on the command line; the message says what to give."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(f"{option}: {message}")
        self.option = option


@dataclass(frozen=True)
class GatewayConfig:
    """`url` is the address at which agents and callers reach the gateway, `control_plane` where it registers.

    `hold` and `offline_for` are seconds, `max_body` bytes. `selector` contains the labels that a worker must have.
    `paths` are added to the paths of models that callers may use. `data` is the folder with routes and ledger.
    """

    url: str
    control_plane: str
    key: str = field(repr=False)
    data: Path
    host: str = "127.0.0.1"
    port: int = 8080
    selector: Mapping[str, str] = field(default_factory=dict)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    hold: float = DEFAULT_HOLD_SECONDS
    offline_for: float = DEFAULT_OFFLINE_SECONDS
    max_body: int = DEFAULT_MAX_BODY_BYTES
    paths: tuple[str, ...] = ()

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> GatewayConfig:
        """The configuration of the command line's options, by their names. Raises OptionError."""
        host, port = check_listen(options.get("listen") or DEFAULT_LISTEN)
        tls_cert, tls_key = check_tls(options.get("tls_cert"), options.get("tls_key"))
        return cls(
            url=check_url(options.get("url") or _own_url(host, port, tls_cert is not None)),
            control_plane=check_control_plane(options.get("control_plane")),
            key=check_key(options.get("key")),
            data=Path(options.get("data") or default_data()).expanduser().absolute(),
            host=host,
            port=port,
            selector=check_selector(options.get("selector") or ()),
            tls_cert=tls_cert,
            tls_key=tls_key,
            hold=check_seconds("--hold", options.get("hold", DEFAULT_HOLD_SECONDS), 3600.0),
            offline_for=check_seconds("--offline-for", options.get("offline_for", DEFAULT_OFFLINE_SECONDS), 30 * 86400),
            max_body=check_max_body(options.get("max_body", DEFAULT_MAX_BODY_BYTES)),
            paths=check_paths(options.get("path") or ()),
        )

    @property
    def selector_text(self) -> str | None:
        """As the control plane reads it: `gpu=h200,site=lab`; None for all workers."""
        return ",".join(f"{name}={value}" for name, value in sorted(self.selector.items())) or None

    def warnings(self) -> list[str]:
        """What works, and should be known before others rely on it."""
        found = []
        for option, url in (("--url", self.url), ("--control-plane", self.control_plane)):
            parts = urlsplit(url)
            if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
                found.append(f"{option} is plain HTTP: keys and prompts cross the network unencrypted; use https")
        if urlsplit(self.url).scheme == "https" and self.tls_cert is None and not is_loopback(self.host):
            found.append(f"--url is https, and {self.host}:{self.port} is not: a proxy has to end TLS in front of it")
        return found


def check_listen(text: str) -> tuple[str, int]:
    """The host and the port of HOST:PORT or [IPv6]:PORT. Port 0 takes a free one. Raises OptionError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise OptionError("--listen", f"put an IPv6 address in brackets, as [::1]:8080, got {text!r}")
    if not colon or not host or not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65535:
        raise OptionError("--listen", f"expected HOST:PORT, as {DEFAULT_LISTEN}, got {text!r}")
    return host, int(port)


def check_url(url: str) -> str:
    """The gateway's public URL, without a slash at its end and without the scheme's own port. Raises OptionError."""
    parts = _split("--url", url)
    if parts.path.strip("/"):
        raise OptionError("--url", f"expected no path: callers use {parts.scheme}://{parts.netloc}/v1, got {url!r}")
    usual = ":443" if parts.scheme == "https" else ":80"
    return f"{parts.scheme}://{parts.netloc.removesuffix(usual)}"


def check_control_plane(url: str | None) -> str:
    """The control plane's URL, which may have a path. Raises OptionError."""
    if not url:
        raise OptionError("--control-plane", "the URL of the control plane is missing")
    _split("--control-plane", url)
    return url.rstrip("/")


def check_key(key: str | None) -> str:
    """The key without spaces around it. Raises OptionError, without the key in its message."""
    key = (key or "").strip()
    if not key:
        create = "an admin creates one: muster keys create my-gateway --role gateway"
        raise OptionError("--key", f"the gateway's API key is missing; {create}")
    if not key.isascii() or not key.isprintable() or " " in key or len(key) > MAX_KEY_LENGTH:
        raise OptionError("--key", "not an API key: expected one word such as mst_key_…")
    return key


def check_selector(pairs: Iterable[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in pairs:
        for part in pair.split(","):
            name, equals, value = part.strip().partition("=")
            if not name or not equals:
                raise OptionError("--selector", f"expected KEY=VALUE, got {part!r}")
            if labels.get(name, value) != value:
                raise OptionError("--selector", f"{name} is given twice, with two values: no worker has both")
            labels[name] = value
    if sum(len(name) + len(value) + 2 for name, value in labels.items()) > MAX_SELECTOR_LENGTH:
        raise OptionError("--selector", f"expected at most {MAX_SELECTOR_LENGTH} characters")
    return labels


def check_tls(cert: Any, key: Any) -> tuple[Path | None, Path | None]:
    """Both files, or neither. Whether they fit together shows when they are loaded. Raises OptionError."""
    if bool(cert) != bool(key):
        given, missing = ("--tls-cert", "--tls-key") if cert else ("--tls-key", "--tls-cert")
        raise OptionError(missing, f"{given} needs it too")
    if not cert:
        return None, None
    for option, path in (("--tls-cert", Path(cert)), ("--tls-key", Path(key))):
        if not os.access(path, os.R_OK) or path.is_dir():
            raise OptionError(option, f"there is no file {path} that this user can read")
    return Path(cert), Path(key)


def check_seconds(option: str, value: Any, most: float) -> float:
    """A number of seconds from 0 to `most`. Raises OptionError."""
    seconds = float(value)
    if not 0 <= seconds <= most:
        raise OptionError(option, f"expected seconds from 0 to {most:.0f}, got {value}")
    return seconds


def check_max_body(value: Any) -> int:
    if not LEAST_BODY_BYTES <= int(value) <= MOST_BODY_BYTES:
        raise OptionError("--max-body", f"expected bytes from {LEAST_BODY_BYTES} to {MOST_BODY_BYTES}, got {value}")
    return int(value)


def check_paths(paths: Iterable[str]) -> tuple[str, ...]:
    """Paths below /v1/ that are added to the allowlist. Raises OptionError."""
    found = tuple(paths)
    for path in found:
        is_plain = path.isascii() and path.isprintable() and not set(path) & set(" ?#%;\\*")
        steps = path.split("/")[1:]
        is_path = path.startswith("/") and len(path) <= MAX_PATH_LENGTH and not {"", ".", ".."} & set(steps)
        if not is_path or not is_plain:
            raise OptionError("--path", f"expected a path such as /v1/classify, got {path!r}")
    return found


def default_data(environ: Mapping[str, str] | None = None, user: int | None = None) -> Path:
    """Where the system keeps state for root, and where the XDG directories put it for others."""
    environ = os.environ if environ is None else environ
    if (os.geteuid() if user is None else user) == 0:
        return Path("/var/lib/muster-gateway")
    return Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "muster-gateway"


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _own_url(host: str, port: int, is_tls: bool) -> str:
    if not is_loopback(host):
        raise OptionError("--url", "the public address of the gateway is missing, such as https://models.example.com")
    return f"{'https' if is_tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _split(option: str, url: str) -> SplitResult:
    """The parts of an HTTP URL. Raises OptionError."""
    problem = f"expected https://HOST[:PORT], got {url!r}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise OptionError(option, problem) from error
    is_plain = url.isascii() and url.isprintable() and " " not in url and len(url) <= MAX_URL_LENGTH
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain or port == 0:
        raise OptionError(option, problem)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise OptionError(option, "expected no user, password, query, or fragment in the URL")
    return parts
