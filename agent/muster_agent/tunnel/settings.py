"""What the host's owner decides about tunnels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from muster_agent.config import SettingError


@dataclass(frozen=True)
class TunnelSettings:
    """`gateways` are host names, empty for any; `drain` is in seconds."""

    enabled: bool = True
    gateways: frozenset[str] = frozenset()
    paths: tuple[str, ...] = ()
    drain: float = 30.0
    insecure: bool = False

    def allows(self, url: str) -> bool:
        """Whether the agent may dial that gateway."""
        host = (urlsplit(url).hostname or "").lower()
        return not self.gateways or host in self.gateways


def gateway_hosts(names: Iterable[str]) -> frozenset[str]:
    """The hosts of `--allow-gateway`. Raises SettingError."""
    found = set()
    for name in names:
        host = name.strip().lower().removeprefix("[").removesuffix("]")
        if not host or "/" in host or "@" in host:
            raise SettingError("--allow-gateway", f"expected a host such as models.example.com, got {name!r}")
        found.add(host)
    return frozenset(found)
