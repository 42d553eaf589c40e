"""The owner's decisions about tunnels."""

from __future__ import annotations

import pytest

from muster_agent.config import SettingError
from muster_agent.tunnel.settings import TunnelSettings, gateway_hosts


def test_without_names_every_gateway_is_dialed_and_with_names_those() -> None:
    assert TunnelSettings().allows("https://anywhere:8443/x")
    some = TunnelSettings(gateways=gateway_hosts(["Models.Example.com", "[::1]"]))
    assert some.allows("https://models.example.com:8443") and some.allows("http://[::1]:80")
    assert not some.allows("https://models.example.com.evil.net") and not some.allows(
        "https://evil.net/models.example.com"
    )
    assert not some.allows("https://models.example.com@evil.net") and not some.allows("nonsense")


@pytest.mark.parametrize("name", ["", " ", "https://x", "a/b", "me@host"])
def test_what_is_no_host_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match="--allow-gateway"):
        gateway_hosts([name])
