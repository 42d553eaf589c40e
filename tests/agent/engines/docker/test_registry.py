"""What a registry says of an image before it is pulled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from muster_agent.engines.docker.registry import Described, Login, Name, Unheard, describe
from tests.fixtures.registry import IMAGE, Registry, registry


@pytest.fixture
def server() -> Iterator[Registry]:
    with registry(1000, 2000) as made:
        yield made


def name(server: Registry, reference: str = "1") -> Name:
    return Name(f"127.0.0.1:{server.server_port}", IMAGE, reference)


def ask(server: Registry, reference: str = "1", login: Login | None = None) -> Described:
    return describe(name(server, reference), "linux/amd64", login)


def test_an_image_for_one_platform_is_told_with_its_layers_and_its_own_settings(server: Registry) -> None:
    found = ask(server)
    assert found.platforms == ("linux/amd64",)
    assert [each.size > 1900 for each in found.layers or ()] == [False, True]
    assert all(each.diff_id.startswith("sha256:") for each in found.layers or ())


def test_of_an_index_the_hosts_platform_is_read_and_attestations_are_no_platform(server: Registry) -> None:
    server.add_index("many", env=("NVIDIA_REQUIRE_CUDA=cuda>=12.9", "odd"), arm64=10, amd64=100_000)
    found = ask(server, "many")
    assert found.platforms == ("linux/arm64", "linux/amd64")
    assert sum(each.size for each in found.layers or ()) > 100_000
    assert found.env == {"NVIDIA_REQUIRE_CUDA": "cuda>=12.9", "odd": ""}


def test_an_image_that_is_not_there_for_the_platform_has_no_layers(server: Registry) -> None:
    server.add_index("arm", arm64=10)
    assert ask(server, "arm") == Described(("linux/arm64",), None, {})
    digest = next(each for each in server.manifests if each.startswith("sha256:"))
    assert ask(server, digest) == Described(("linux/arm64",), None, {}), "also where there is no index"


@pytest.mark.parametrize("login", [None, Login("ann", "secret")])
def test_a_token_is_fetched_where_the_registry_asks_for_one(server: Registry, login: Login | None) -> None:
    server.token_wanted = (login.username, login.password) if login else ("", "")
    assert ask(server, login=login).platforms == ("linux/amd64",)


def test_what_does_not_answer_to_the_point_says_nothing(server: Registry) -> None:
    server.manifests |= {"html": b"<html>", "empty": b"{}", "deep": b"[" * 100_000, "long": b" " * 5 * 1024 * 1024}
    for tag in ("none", "html", "empty", "deep", "long"):
        with pytest.raises(Unheard):
            ask(server, tag)
    server.token_wanted = ("ann", "secret")
    for login in (None, Login("ann", "wrong")):
        with pytest.raises(Unheard):
            ask(server, login=login)
    server.token_wanted, server.locked = None, True
    with pytest.raises(Unheard):
        ask(server)


def test_a_registry_that_is_gone_says_nothing() -> None:
    with registry(1) as server:
        gone = name(server)
    with pytest.raises(Unheard):
        describe(gone, "linux/amd64", None)


def test_dockers_hub_is_asked_at_its_own_host_and_only_this_host_without_tls() -> None:
    assert Name("docker.io", "vllm/vllm-openai", "x").url == "https://registry-1.docker.io/v2/vllm/vllm-openai"
    assert Name("reg.example:5000", "a", "x").url == "https://reg.example:5000/v2/a"
    assert Name("localhost:5000", "a", "x").url == "http://localhost:5000/v2/a"
    assert Name("127.0.0.1.example", "a", "x").url == "https://127.0.0.1.example/v2/a"


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Login("ann", "secret"))
