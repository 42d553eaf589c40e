"""A proxy that ends TLS, with certificates of an authority of its own, between an agent and its gateway."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from tests.fixtures.certificates import Authority, authority
from tests.fixtures.connect_proxy import ConnectProxy, Passing
from tests.fixtures.network_rig import NetworkRig, first_token, logged, restart
from tests.fixtures.waiting import eventually

NOT_TRUSTED = "the server's certificate is not trusted ("
ADVICE = "set SSL_CERT_FILE or REQUESTS_CA_BUNDLE to a file with the certificate of the authority that signed it"


class Reading(Passing):
    """Keeps the beginning of what passes."""

    read: ClassVar[list[bytes]] = []
    """Of all connections."""

    async def pass_on(self, data: bytes, to: asyncio.StreamWriter) -> bool:
        self.read.append(data[:100])
        return await super().pass_on(data, to)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("intercepted")


def made_in(folder: Path, name: str) -> Authority:
    (folder / name).mkdir()
    return authority(folder / name)


@pytest.fixture(scope="module")
def gateways(folder: Path) -> Authority:
    """Signed the gateway's certificate. The agent does not know it: only the proxy connects to the gateway."""
    return made_in(folder, "gateways")


@pytest.fixture(scope="module")
def proxys(folder: Path) -> Authority:
    """Signs the certificates with which the proxy is taken for the gateway."""
    return made_in(folder, "proxys")


@pytest.fixture(scope="module")
def proxy(gateways: Authority, proxys: Authority) -> Iterator[ConnectProxy]:
    with ConnectProxy() as running:
        running.ends_tls = proxys.server
        running.onward = ssl.create_default_context(cafile=gateways.file)
        running.passing = Reading
        yield running


@pytest.fixture(scope="module")
def rig(folder: Path, gateways: Authority, proxys: Authority, proxy: ConnectProxy) -> Iterator[NetworkRig]:
    variables = {"HTTPS_PROXY": proxy.url(), "SSL_CERT_FILE": proxys.file}
    with NetworkRig(folder, variables, gateways) as made:
        yield made


def serves(rig: NetworkRig) -> bool:
    eventually(rig.ready, what="a tunnel through the proxy")
    return b'" token"' in first_token(rig)


def test_the_proxy_reads_what_passes(rig: NetworkRig) -> None:
    Reading.read.clear()
    assert serves(rig) and Reading.read
    restart(rig, rig.variables)
    assert serves(rig)
    assert any(data.startswith(b"GET /tunnel HTTP/1.1\r\n") for data in Reading.read)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_authority_of_a_proxy_may_be_named_as_for_other_programs(
    rig: NetworkRig, proxys: Authority, proxy: ConnectProxy, variable: str
) -> None:
    restart(rig, {"HTTPS_PROXY": proxy.url(), variable: proxys.file})
    assert serves(rig)


def test_every_authority_that_is_named_is_trusted(
    rig: NetworkRig, gateways: Authority, proxys: Authority, proxy: ConnectProxy
) -> None:
    named = {"REQUESTS_CA_BUNDLE": gateways.file, "CURL_CA_BUNDLE": proxys.file}
    restart(rig, {"HTTPS_PROXY": proxy.url(), **named})
    assert serves(rig)


def test_the_agents_log_says_which_authority_is_missing_and_where_to_name_it(
    rig: NetworkRig, gateways: Authority, proxys: Authority, proxy: ConnectProxy
) -> None:
    host, through = rig.hosts[0], {"HTTPS_PROXY": proxy.url()}
    restart(rig, through)
    seen = logged(host, NOT_TRUSTED)
    assert f"no tunnel to {rig.gateway.url}: {NOT_TRUSTED}" in seen and ADVICE in seen
    restart(rig, through | {"SSL_CERT_FILE": gateways.file})
    assert f"(not in SSL_CERT_FILE={gateways.file})" in logged(host, NOT_TRUSTED)
    assert rig.gateway.metric("muster_gateway_tunnel_workers") == 0


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_file_of_authorities_that_is_not_there_is_named(rig: NetworkRig, proxy: ConnectProxy, variable: str) -> None:
    restart(rig, {"HTTPS_PROXY": proxy.url(), variable: "/nowhere.pem"})
    seen = logged(rig.hosts[0], f"no tunnel to {rig.gateway.url}: {variable} names ")
    assert "/nowhere.pem" in seen and "name a file of certificates (PEM)" in seen
