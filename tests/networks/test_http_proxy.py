"""Tunnels through a proxy of HTTP that wants a login, as HTTPS_PROXY and NO_PROXY name it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from muster.tunnel.protocol import CONNECTIONS
from tests.fixtures.certificates import authority
from tests.fixtures.connect_proxy import ConnectProxy
from tests.fixtures.namespaces import Namespace, namespace
from tests.fixtures.network_rig import NamespaceRig, NetworkRig, first_token, logged, restart
from tests.fixtures.ports import free_port, origin
from tests.fixtures.waiting import eventually

LOGIN = ("user", "p@ss")
CONNECTS = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 60)"


@pytest.fixture(scope="module")
def proxy() -> Iterator[ConnectProxy]:
    with ConnectProxy(login=LOGIN) as running:
        yield running


@pytest.fixture(scope="module")
def rig(proxy: ConnectProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkRig]:
    """A gateway with TLS. The control plane has none, so that the proxy is on the way to the gateway alone."""
    folder = tmp_path_factory.mktemp("proxy")
    own = authority(folder)
    with NetworkRig(folder, {"SSL_CERT_FILE": own.file, "HTTPS_PROXY": proxy.url()}, own) as made:
        yield made


@pytest.fixture
def trusts(rig: NetworkRig) -> dict[str, str]:
    return {"SSL_CERT_FILE": str(rig.verify)}


def reaches(inside: Namespace, port: int) -> bool:
    """Whether a program of the host connects to that port of the cable's outer end."""
    command = inside.command(sys.executable, "-c", CONNECTS, inside.outer, str(port))
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
def test_a_host_that_reaches_a_proxy_alone_serves_its_model(
    version: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("alone")
    own = authority(folder)
    with namespace(version) as inside, ConnectProxy(inside.outer, LOGIN) as proxy:
        inside.refuse_inbound()
        inside.allow_outbound(proxy.port)
        variables = {"HTTP_PROXY": proxy.url(), "HTTPS_PROXY": proxy.url(), "SSL_CERT_FILE": own.file}
        assert ":p%40ss@" in variables["HTTPS_PROXY"]
        with NamespaceRig(folder, inside, variables, own) as rig:
            assert b'" token"' in first_token(rig)
            assert set(proxy.connected) == {origin(inside.outer, rig.gateway.port)} and proxy.refused == 0
            assert len(proxy.connected) >= CONNECTIONS and proxy.forwarded, "the control plane is asked by it, too"
            ports = (proxy.port, rig.gateway.port, rig.serve.port)
            assert [reaches(inside, port) for port in ports] == [True, False, False]


def test_a_tunnel_goes_through_the_proxy(rig: NetworkRig, proxy: ConnectProxy) -> None:
    assert proxy.connected[-1] == f"127.0.0.1:{rig.gateway.port}" and proxy.refused == 0
    assert b'" token"' in first_token(rig)
    connected = len(proxy.connected)
    proxy.cut()
    eventually(lambda: len(proxy.connected) >= connected + CONNECTIONS, what="the tunnels to be dialed again")
    eventually(rig.ready, what="the host to come back")


@pytest.mark.parametrize("secret", ["wr@ng-s3cret", "p@ss "])
def test_a_wrong_password_is_reported_and_never_shown(
    rig: NetworkRig, proxy: ConnectProxy, trusts: dict[str, str], secret: str
) -> None:
    refused = proxy.refused
    wrong = proxy.url(("user", secret))
    restart(rig, trusts | {"HTTPS_PROXY": wrong})
    seen = logged(rig.hosts[0], f"no tunnel to {rig.gateway.url}: the proxy 127.0.0.1:{proxy.port} (HTTPS_PROXY) ")
    assert "refuses the user or the password (407): correct them in HTTPS_PROXY" in seen
    assert secret not in seen and wrong.partition("@")[0].rpartition(":")[2] not in seen
    assert proxy.refused > refused and rig.gateway.metric("muster_gateway_tunnel_workers") == 0


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("http://127.0.0.1:{proxy}", "(HTTPS_PROXY) asks for a login (407): give it in the proxy's variable"),
        ("http://user:s3cret@127.0.0.1:{nobody}", "(HTTPS_PROXY) does not serve: the connection was refused"),
        ("http://user:s3cret#@127.0.0.1:{proxy}", "HTTPS_PROXY is not the URL of a proxy: give http://USER:PASSWORD@"),
        ("socks5://user:s3cret@127.0.0.1:{proxy}", "HTTPS_PROXY names a SOCKS proxy"),
    ],
)
def test_the_agents_log_says_what_to_do_about_a_proxy_that_cannot_be_used(
    rig: NetworkRig, proxy: ConnectProxy, trusts: dict[str, str], value: str, said: str
) -> None:
    restart(rig, trusts | {"HTTPS_PROXY": value.format(proxy=proxy.port, nobody=free_port())})
    seen = logged(rig.hosts[0], said)
    assert f"no tunnel to {rig.gateway.url}: " in seen
    assert "s3cret" not in seen and "Traceback" not in seen


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "127.0.0.0/8"])
def test_a_gateway_of_no_proxy_is_connected_to_directly(
    rig: NetworkRig, proxy: ConnectProxy, trusts: dict[str, str], no_proxy: str
) -> None:
    before = len(proxy.connected), proxy.refused
    nobody = f"http://127.0.0.1:{free_port()}"
    restart(rig, trusts | {"HTTPS_PROXY": nobody, "NO_PROXY": no_proxy})
    eventually(rig.ready, what="the tunnels without the proxy")
    assert b'" token"' in first_token(rig)
    assert (len(proxy.connected), proxy.refused) == before
