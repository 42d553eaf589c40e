"""The options of a gateway: what is taken, and what is refused by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from muster.gateway.config import GatewayConfig, OptionError, default_data

KEY = "mst_key_do_not_echo"


def config(**options: Any) -> GatewayConfig:
    given = {"control_plane": "https://muster.example/api-stage/", "key": KEY, "data": "/nowhere"}
    return GatewayConfig.from_options({**given, **options})


def test_the_schemes_own_port_is_left_out() -> None:
    assert config(url="https://models.example:443").url == "https://models.example"
    assert config(url="http://[::1]:80/").url == "http://[::1]"
    assert config(url="http://[::443]").url == "http://[::443]"


def test_the_defaults_serve_this_machine() -> None:
    made = config()
    assert (made.url, made.host, made.port) == ("http://127.0.0.1:8080", "127.0.0.1", 8080)
    assert made.control_plane == "https://muster.example/api-stage"
    assert (made.hold, made.offline_for, made.max_body) == (60, 86400, 32 * 1024 * 1024)
    assert made.selector_text is None and made.warnings() == []


def test_each_option_is_taken(tmp_path: Path) -> None:
    cert = tmp_path / "cert.pem"
    cert.write_text("")
    made = config(
        url="https://Models.example:8443/",
        listen="[::]:443",
        selector=("site=lab", "gpu=h200,rack=4"),
        tls_cert=cert,
        tls_key=cert,
        hold=5.0,
        offline_for=60.0,
        max_body=2048,
        path=("/v1/classify",),
        key=f" {KEY}\n",
    )
    assert (made.url, made.host, made.port, made.key) == ("https://Models.example:8443", "::", 443, KEY)
    assert made.selector_text == "gpu=h200,rack=4,site=lab"
    assert (made.tls_cert, made.hold, made.offline_for, made.max_body) == (cert, 5, 60, 2048)
    assert made.paths == ("/v1/classify",)


def test_the_key_is_in_no_text_of_the_configuration() -> None:
    assert KEY not in repr(config())


REFUSED: list[tuple[str, dict[str, Any]]] = [
    *(
        ("--listen", {"listen": text})
        for text in ("8080", ":8080", "host:", "host:x", "host:65536", "::1:80", "h:\u0661")
    ),
    *(("--url", {"url": url}) for url in ("models", "ftp://x", "https://", "https://x/v1", "https://x:0")),
    *(("--url", {"url": url}) for url in ("https://u:p@x", "https://x?a", "https://x#a", "https://x y", "http://[x")),
    ("--url", {"url": "https://" + "x" * 600}),
    ("--url", {"listen": "0.0.0.0:80"}),
    *(("--control-plane", {"control_plane": url}) for url in (None, "", "muster.example", "https://u@x")),
    *(("--key", {"key": key}) for key in (None, "", "  ", "mst key", "mst_\x00", "ключ", "x" * 600)),
    *(("--selector", {"selector": (pair,)}) for pair in ("site", "=lab", "a=b,,c=d", "a=" + "x" * 1100)),
    ("--selector", {"selector": ("site=a", "site=b")}),
    ("--hold", {"hold": -1.0}),
    ("--hold", {"hold": 3601.0}),
    ("--hold", {"hold": float("nan")}),
    ("--offline-for", {"offline_for": -1.0}),
    ("--max-body", {"max_body": 10}),
    ("--max-body", {"max_body": 2**40}),
    *(("--path", {"path": (path,)}) for path in ("v1/x", "/v1//x", "/v1/../x", "/v1/x?y", "/v1/%2f", "/v1/x y", "/")),
    ("--tls-key", {"tls_cert": "/dev/null"}),
    ("--tls-cert", {"tls_key": "/dev/null"}),
    ("--tls-cert", {"tls_cert": "/nowhere.pem", "tls_key": "/dev/null"}),
]


@pytest.mark.parametrize(("option", "given"), REFUSED)
def test_an_option_that_cannot_work_is_refused_by_its_name(option: str, given: dict[str, Any]) -> None:
    with pytest.raises(OptionError) as refused:
        config(**given)
    assert refused.value.option == option and str(refused.value).startswith(f"{option}: ")
    assert KEY not in str(refused.value)


def test_plain_http_across_a_network_is_a_warning() -> None:
    made = config(url="http://10.0.0.1:8080", control_plane="http://10.0.0.2:8000")
    assert [line.split(" is plain HTTP")[0] for line in made.warnings()] == ["--url", "--control-plane"]
    made = config(url="https://models.example", listen="0.0.0.0:8080")
    assert made.warnings() == [
        "--url is https, and 0.0.0.0:8080 is not: a proxy has to end TLS in front of it",
    ]


def test_state_is_where_the_system_keeps_it() -> None:
    assert default_data({}, user=0) == Path("/var/lib/muster-gateway")
    assert default_data({"XDG_STATE_HOME": "/people/me/.state"}, user=1000) == Path("/people/me/.state/muster-gateway")
