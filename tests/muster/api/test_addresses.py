"""What a worker's address may be, however it is written, and the endpoint that it makes."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.api.addresses import Kind, Place, endpoint, of_endpoint, of_ip, place, read

METADATA = "169.254.169.254"


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.7", "100.64.0.7", "192.0.2.1", "203.0.113.9", "fd00::7", "[fd00::7]", "2001:db8::1"),
        *("gpu-1", "gpu-1.lan.", "gpu_1", "gpu.localdomain", "xn--gpu-hoa.example", "GPU-1"),
        *(
            "https://gpu07-{port}.example.org",
            "https://proxy.example/models/{port}",
            "http://10.0.0.7:{port}",
            "http://h/",
        ),
    ],
)
def test_names_addresses_and_templates_are_ordinary(address: str) -> None:
    assert read(address).kind is Kind.ORDINARY


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST.", "a.localhost", "ip6-localhost"),
        *("::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "http://127.0.0.1:{port}"),
    ],
)
def test_loopback_is_known_in_each_of_its_forms(address: str) -> None:
    assert read(address).kind is Kind.LOOPBACK


@pytest.mark.parametrize(
    "address",
    [
        # Link-local, metadata services, multicast, unspecified, broadcast, reserved.
        *(METADATA, "169.254.170.2", "169.254.0.1", "fe80::1", "fe80::1%eth0", "febf::1", "fe80::a9fe:a9fe", "fec0::1"),
        *("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
        *("metadata.google.internal", "METADATA.google.internal.", "metadata", "instance-data", "x.metadata.goog"),
        *("224.0.0.1", "239.1.2.3", "ff02::1", "0.0.0.0", "0.1.2.3", "::", "[::]", "255.255.255.255", "240.0.0.1"),
        # The same in other words.
        *("2852039166", "0xA9FEA9FE", "0251.0376.0251.0376", "0xa9.0xfe.0xa9.0xfe", "169.254.43518", "169.16689662"),
        *("025177524776", "0", "0x0", f"{METADATA}.", f"::ffff:{METADATA}", "::ffff:a9fe:a9fe", f"64:ff9b::{METADATA}"),
        *("64:ff9b:1::a9fe:a9fe", f"::{METADATA}", "2002:a9fe:a9fe::", f"::ffff:0:{METADATA}"),
        *("2001:db8::5efe:a9fe:a9fe", "100::1"),
        # Where programs disagree about the host.
        *(f"http://good@{METADATA}/", f"http://{METADATA}#@good/{{port}}", f"http://good\\@{METADATA}/{{port}}"),
        *(f"http://{METADATA}:80\\@good/{{port}}", f"http://good:x@{METADATA}:{{port}}"),
        *(f"{METADATA}:80", f"{METADATA}/x"),
        *(f"http://{METADATA}/latest/meta-data/{{port}}", f"http://[::ffff:{METADATA}]:{{port}}", f"ftp://{METADATA}/"),
        *("169。254。169。254", "169%2e254%2e169%2e254", "①⑥⑨.②⑤④.①⑥⑨.②⑤④", f"http://{METADATA}.:{{port}}", "http://{port}/"),
    ],
)  # fmt: skip
def test_what_leads_to_a_metadata_service_or_to_no_single_host_is_forbidden_however_it_is_written(address: str) -> None:
    found = read(address)
    assert found.kind is Kind.FORBIDDEN
    assert found.problem


@pytest.mark.parametrize(
    "address",
    [
        *("", "a b", "gpu-1:8000", "10.0.0.7:8080", "x{port}", "javascript:window.ran=1//x", "10.0.0.7%00"),
        *("fd00::1%eth0", "http://h/p", "http://h:80"),
        *("127.1", "2130706433", "012.0.0.7", "1.2.3", "10.0.0.256", "a.1", "gpu-ü", "-gpu", "a" * 300, "[10.0.0.7]"),
        *("ftp://x/{port}", "http://{port", "http://u:p@10.0.0.7:{port}", "http://10.0.0.7/?x={port}"),
    ],
)  # fmt: skip
def test_what_only_some_programs_can_read_is_malformed(address: str) -> None:
    found = read(address)
    assert found.kind is Kind.MALFORMED
    assert found.problem


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_ipv4_address_inside_of_an_ipv6_address_is_judged_as_itself(ip: IPv4Address) -> None:
    kind = of_ip(ip).kind
    for prefix in ("::ffff:", "64:ff9b::", "64:ff9b:1::", "::ffff:0:"):
        assert of_ip(ip_address(f"{prefix}{ip}")).kind >= kind
    if int(ip) > 1:
        assert of_ip(ip_address(f"::{ip}")).kind >= kind


@given(st.text(max_size=40))
def test_any_text_can_be_read(text: str) -> None:
    for each in (text, f"http://{text}:{{port}}", f"http://10.0.0.7/{text}"):
        found = read(each)
        assert (found.problem is None) == (found.kind is Kind.ORDINARY)
        place(endpoint(each, 20000))


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("10.0.0.7", "http://10.0.0.7:8001"),
        ("fd00::7", "http://[fd00::7]:8001"),
        ("[fd00::7]", "http://[fd00::7]:8001"),
        ("https://gpu.example/", "https://gpu.example:8001"),
        ("https://gpu-{port}.example", "https://gpu-8001.example"),
    ],
)
def test_an_endpoint_is_the_address_with_the_port(address: str, url: str) -> None:
    assert endpoint(address, 8001) == url


def test_a_port_can_make_a_template_into_another_address() -> None:
    assert of_endpoint(endpoint("http://169.254.169.{port}/", 254)).kind is Kind.FORBIDDEN
    assert place(endpoint("http://169.254.169.{port}/", 254)) is None


def test_a_place_is_the_same_for_all_that_lead_there() -> None:
    here = Place("10.0.0.7", 8001)
    assert place("http://10.0.0.7:8001") == place("http://10.0.0.7:8001/") == here
    assert place("http://[::ffff:10.0.0.7]:8001") == here
    assert place("http://GPU-1.:8001") == place("http://gpu-1:8001")
    assert place("https://proxy.example/a") == Place("proxy.example", 443, "/a")
    assert place("no url") is None
