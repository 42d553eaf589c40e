"""The owner's settings, checked before anything starts: a wrong one is an error with the flag in it."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from muster.api import addresses
from muster.api.addresses import Kind
from muster.api.messages import Labels

LOOPBACK = "127.0.0.1"

Rebind = Literal["restart", "leave"]


class SettingError(Exception):
    """`flag` is the option at fault."""

    def __init__(self, flag: str, message: str) -> None:
        super().__init__(f"{flag}: {message}")
        self.flag = flag


@dataclass(frozen=True)
class AgentConfig:
    """The agent's settings, checked. Each field has the name of its option (main.py)."""

    url: str
    token: str | None = field(repr=False)
    name: str | None
    state_dir: Path
    engine: str
    address: str | None
    rebind: Rebind
    allow_image: tuple[str, ...]
    default_image: str
    model_root: Path | None
    share_env: tuple[str, ...]
    allow_remote_code: bool
    allow_mount: tuple[tuple[Path, bool], ...]
    allow_entrypoint: bool
    allow_host_network: bool
    vllm_command: str
    label: Mapping[str, str]
    insecure: bool
    rejoin: bool
    forget_gpus: bool
    tunnel: bool = True
    allow_gateway: tuple[str, ...] = ()
    tunnel_path: tuple[str, ...] = ()
    drain: float = 30.0

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> AgentConfig:
        """The settings that click read as `options`. Raises SettingError."""
        checked = {
            "url": check_url(options["url"], options["insecure"]),
            "address": check_address(options["address"]),
            "label": labels(options["label"]),
            "share_env": shared_names(options["share_env"]),
            "allow_mount": mountable_folders(options["allow_mount"]),
        }
        return cls(**{**options, **checked})


def default_state_dir() -> Path:
    """Where the system keeps state for root, and where the XDG directories put it for others."""
    if os.geteuid() == 0:
        return Path("/var/lib/muster-agent")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "muster-agent"


def check_url(url: str, insecure: bool) -> str:
    """The control plane's URL, or SettingError. A token must not cross a network in the clear by accident."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError("--url", f"expected https://host[:port], got {url!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingError("--url", "expected no user, password, query or fragment")
    if parts.scheme == "http" and not insecure and not is_loopback(parts.hostname):
        raise SettingError("--url", "plain http would show the token to the network: use https, or say --insecure")
    return url


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def check_address(address: str | None) -> str | None:
    """`address` if it can be a worker's address, whether or not this host has it at the moment. Raises SettingError.

    A URL with `{port}` belongs to a proxy on this host, which reaches models by loopback. Models listen at any other
    address themselves, so it must name one host: a model must not be bound to more than was asked for.
    """
    if address is None:
        return None
    found = addresses.read(address)
    if found.kind in (Kind.FORBIDDEN, Kind.MALFORMED):
        raise SettingError("--address", found.problem or addresses.EXPECTED)
    if "://" in address and "{port}" not in address:
        raise SettingError("--address", f"expected {{port}} in the URL {address!r}, or an address without a scheme")
    return address


def labels(pairs: Iterable[str]) -> dict[str, str]:
    """`K=V` each, or SettingError."""
    split = [pair.partition("=") for pair in pairs]
    for key, equals, _ in split:
        if not key or not equals:
            raise SettingError("--label", f"expected KEY=VALUE, got {key!r}")
    try:
        return msgspec.convert({key: value for key, _, value in split}, type=Labels)
    except msgspec.ValidationError as error:
        raise SettingError("--label", str(error)) from error


def hub_cache(environment: Mapping[str, str]) -> Path:
    """Where Hugging Face's libraries keep weights (huggingface_hub, Environment variables)."""
    if environment.get("HF_HUB_CACHE"):
        return Path(environment["HF_HUB_CACHE"]).expanduser()
    home = environment.get("HF_HOME") or str(Path(environment.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    return Path(home).expanduser() / "hub"


def shared_names(names: Iterable[str]) -> tuple[str, ...]:
    """Variables that deployments may take, or SettingError: the agent's own settings are none."""
    given = tuple(names)
    for name in given:
        if name.startswith("MUSTER_") or not name or "=" in name:
            raise SettingError("--share-env", f"expected the name of a variable that is not the agent's, got {name!r}")
    return given


def mountable_folders(texts: Iterable[str]) -> tuple[tuple[Path, bool], ...]:
    """Each folder of `DIRECTORY[:ro]`, and whether it is read-only. Raises SettingError.

    The agent must see the folder: it follows the links in it, so that no deployment mounts what lies outside.
    """
    found = []
    for text in texts:
        path, colon, mode = text.partition(":")
        if mode not in (("ro", "rw") if colon else ("",)) or not path.startswith("/"):
            raise SettingError("--allow-mount", f"expected an absolute DIRECTORY[:ro], got {text!r}")
        if not Path(path).is_dir():
            raise SettingError("--allow-mount", f"there is no folder {path}, or this agent's container lacks it")
        found.append((Path(path).resolve(), mode == "ro"))
    return tuple(found)
