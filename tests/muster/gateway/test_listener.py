"""The port and the certificate of a gateway: each way in which they cannot be used has its own words."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest
import requests

from muster.gateway.config import GatewayConfig, OptionError
from muster.gateway.listener import CannotServe, listen, load_tls
from tests.fixtures.certificates import authority
from tests.fixtures.waiting import PATIENCE


def config(cert: Path | None = None, key: Path | None = None) -> GatewayConfig:
    return GatewayConfig("https://x", "https://y", "k", Path("/nowhere"), tls_cert=cert, tls_key=key)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_it_listens_by_address_and_by_name(host: str) -> None:
    with listen(host, 0) as listener:
        socket.create_connection(listener.getsockname()[:2], PATIENCE).close()


def test_a_port_that_is_in_use_is_said_with_the_option() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotServe, match=rf"cannot listen on 127\.0\.0\.1 port {port}: .* in use; .*--listen"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host.invalid"])
def test_an_address_that_is_not_of_this_machine_is_said_with_the_option(host: str) -> None:
    with pytest.raises(CannotServe, match=r"cannot listen on .*; give another --listen"):
        listen(host, 8080)


def test_without_a_certificate_it_serves_http() -> None:
    assert load_tls(config()) is None


def test_with_a_certificate_and_its_key_it_serves_https(tmp_path: Path) -> None:
    own = authority(tmp_path)
    own.server()
    (pem,) = tmp_path.glob("server-*.pem")
    context = load_tls(config(pem, pem))
    assert context is not None and context.minimum_version == ssl.TLSVersion.TLSv1_2
    with listen("127.0.0.1", 0) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with context.wrap_socket(connection, server_side=True) as secure:
                secure.recv(65536)
                secure.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        assert requests.get(url, verify=own.file, timeout=PATIENCE).status_code == 204
        thread.join()


def test_files_that_are_no_certificate_are_refused_by_the_option(tmp_path: Path) -> None:
    own = authority(tmp_path)
    own.server()
    (pem,) = tmp_path.glob("server-*.pem")
    noise = tmp_path / "noise.pem"
    noise.write_text("not a certificate")
    for cert, key in ((noise, pem), (pem, noise), (Path(own.file), pem), (tmp_path / "gone", pem)):
        with pytest.raises(OptionError, match=r"--tls-cert: .* are no certificate \(PEM\) with its key: "):
            load_tls(config(cert, key))
