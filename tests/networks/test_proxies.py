"""A host that reaches nothing but a proxy: with a password, and with TLS that the proxy reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.fixtures.certificates import authority
from tests.fixtures.connect_proxy import ConnectProxy, TlsFront
from tests.fixtures.http_server import serving
from tests.fixtures.namespaces import Namespace
from tests.fixtures.network_rig import FarHost, NetworkRig
from tests.fixtures.waiting import eventually

USER, PASSWORD = "lab", "p@ss:w/rd"
QUOTED = "p%40ss%3Aw%2Frd"


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with Namespace() as made:
        yield made


@pytest.fixture
def rig(namespace: Namespace, tmp_path: Path) -> Iterator[NetworkRig]:
    with NetworkRig(tmp_path, namespace.cable.outer) as made:
        yield made


@contextmanager
def proxied(namespace: Namespace, login: str = "") -> Iterator[ConnectProxy]:
    """A proxy, which is all that the host reaches."""
    with serving(ConnectProxy(namespace.cable.outer, login)) as proxy:
        namespace.reach_only(proxy.port)
        yield proxy


def said(host: FarHost, words: str) -> bool:
    return words in host.log


def test_a_tunnel_passes_a_proxy_with_a_password(namespace: Namespace, rig: NetworkRig) -> None:
    with proxied(namespace, f"{USER}:{PASSWORD}") as proxy:
        url = f"http://{USER}:{QUOTED}@{namespace.cable.outer}:{proxy.port}"
        host = rig.add(namespace, HTTPS_PROXY=url, SSL_CERT_FILE=rig.authority.file)
        rig.deploy(host)
        assert rig.ask(3).text.count('" token"') == 3
        assert proxy.connected[f"{namespace.cable.outer}:{rig.gateway.port}"] >= 2, "both connections"
        assert proxy.refused == 0 and PASSWORD not in host.log and QUOTED not in host.log


def test_a_proxy_that_takes_no_login_of_the_tunnel_is_said_with_what_to_do(
    namespace: Namespace, rig: NetworkRig
) -> None:
    """The password changes while the host is connected."""
    with proxied(namespace, f"{USER}:old") as proxy:
        url = f"http://{USER}:old@{namespace.cable.outer}:{proxy.port}"
        host = rig.add(namespace, HTTPS_PROXY=url, SSL_CERT_FILE=rig.authority.file)
        rig.deploy(host)
        proxy.login = f"{USER}:{PASSWORD}"
        rig.gateway.kill()
        rig.gateway.start()
        wanted = "asks for a login (407): give it in the proxy's variable, as http://USER:PASSWORD@HOST:PORT"
        eventually(lambda: said(host, f"no tunnel to {rig.gateway.url}: the proxy") and said(host, wanted))
        assert ":old@" not in host.log
        proxy.login = f"{USER}:old"
        eventually(rig.serves, what="the host to come back by itself")


def test_a_proxy_that_reads_tls_needs_its_authority_at_the_host(namespace: Namespace, rig: NetworkRig) -> None:
    folder = rig.serve.data.parent / "company"
    folder.mkdir()
    company = authority(folder)
    with proxied(namespace) as proxy, ExitStack() as stack:
        for port in (rig.front.port, rig.gateway.port):
            there = (namespace.cable.outer, port)
            front = TlsFront("127.0.0.1", company.server(there[0]), there, trusts=rig.authority)
            proxy.fronts[f"{there[0]}:{port}"] = stack.enter_context(front)
        url = f"http://{namespace.cable.outer}:{proxy.port}"
        host = rig.add(namespace, HTTPS_PROXY=url, SSL_CERT_FILE=company.file)
        rig.deploy(host)
        assert rig.ask(3).text.count('" token"') == 3
        assert proxy.fronts[f"{namespace.cable.outer}:{rig.gateway.port}"].read > 0, "the proxy has read the tunnel"
        del proxy.fronts[f"{namespace.cable.outer}:{rig.gateway.port}"]
        rig.gateway.kill()
        rig.gateway.start()
        mend = "set SSL_CERT_FILE or REQUESTS_CA_BUNDLE to a file with the certificate of the authority that signed it"
        eventually(lambda: said(host, "the server's certificate is not trusted") and said(host, mend))


def test_no_proxy_is_taken_where_the_variable_says_so(namespace: Namespace, rig: NetworkRig) -> None:
    with serving(ConnectProxy(namespace.cable.outer, "nobody:knows")) as proxy:
        outer = namespace.cable.outer
        host = rig.add(
            namespace, HTTPS_PROXY=f"http://{outer}:{proxy.port}", NO_PROXY=outer, SSL_CERT_FILE=rig.authority.file
        )
        rig.deploy(host)
        assert rig.ask(3).text.count('" token"') == 3
        assert proxy.refused == 0 and not proxy.connected
