"""Requests to a control plane: what is repeated, what a URL is made of, and answers that no control plane gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

import muster
from muster import Client, Invalid, NewDeployment, NotFound, Unreachable
from muster.direct import MAX_ANSWER_BYTES
from tests.fixtures.certificates import check_trust
from tests.fixtures.fake_server import Answer, error
from tests.fixtures.flaky import Flaky
from tests.fixtures.scripted import Scripted

MODEL = NewDeployment(model="org/model", gpus=0, name="m")


def test_a_get_is_repeated_and_a_post_under_the_same_key() -> None:
    with Flaky(None, (503, {"Retry-After": "0"}), (200, {}), None, (200, {})) as server:
        client = Client(server.url, "mst_key_x")
        assert client.health().version == "x"
        with pytest.raises(Unreachable, match="another version"):  # it is no deployment, but it is an answer
            client.deploy(MODEL)
    assert [each.split()[0] for each in server.seen] == ["GET", "GET", "GET", "POST", "POST"]
    keys = [line for each in server.seen for line in each.splitlines() if line.lower().startswith("idempotency-key")]
    assert len(keys) == 2 and keys[0] == keys[1]


@pytest.mark.parametrize("what", ["change", "delete"])
def test_a_change_that_may_have_been_made_is_not_repeated(what: str) -> None:
    with Flaky(None, (200, {})) as server:
        client = Client(server.url, "mst_key_x")
        with pytest.raises(Unreachable, match="the server closed the connection"):
            client.delete("d") if what == "delete" else client.change("d", muster.DeploymentPatch(gpus=1))
    assert len(server.seen) == 1


def test_an_answer_of_no_control_plane_is_named_as_such() -> None:
    html: Answer = (502, b"<html>Bad gateway</html>", {})
    with pytest.raises(Unreachable, match="answers 502, but not as a control plane"):
        Scripted(html).client().health()
    with pytest.raises(Unreachable, match="use the URL that it redirects to"):
        Scripted((301, b"", {"Location": "https://elsewhere"})).client().health()
    with pytest.raises(Unreachable, match="another version"):
        Scripted((200, b'{"status": 7}', {})).client().health()


def test_an_answer_of_more_than_the_limit_is_not_read_to_its_end() -> None:
    healthy = b'{"status": "ok", "version": "x"}'
    server = Scripted(*((200, healthy.rjust(MAX_ANSWER_BYTES + more), {}) for more in (0, 1)))
    assert server.client().health().version == "x"
    with pytest.raises(Unreachable, match="an answer of more than 67108864 bytes"):
        server.client().health()


def test_no_error_contains_the_key() -> None:
    failures: list[Answer | Exception] = [error(401, "UNAUTHENTICATED"), requests.ConnectionError("Bearer mst_key_x")]
    for failure in failures:
        with pytest.raises(muster.MusterError) as raised:
            Scripted(failure).client().health()
        assert "mst_key_x" not in str(raised.value)


def test_each_post_has_its_own_idempotency_key_unless_the_caller_gives_one() -> None:
    server = Scripted(*[error(503, "UNAVAILABLE")] * 3)
    for key in (None, None, "mine"):
        with pytest.raises(Unreachable):
            server.client().deploy(MODEL, idempotency_key=key)
    first, second, third = (sent.headers["Idempotency-Key"] for sent in server.sent)
    assert first != second and third == "mine"


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_of_dots_does_not_reach_another_route(name: str) -> None:
    """Workers make names of images and models, and a URL has no way to write such a one."""
    server = Scripted()
    with pytest.raises(Invalid, match="is not a valid name"):
        server.client().delete_image("w1", name)
    assert server.sent == []


def test_a_path_parameter_is_quoted_once() -> None:
    server = Scripted(error(404, "IMAGE_NOT_FOUND"))
    with pytest.raises(NotFound):
        server.client().delete_image("w 1", "vllm/vllm-openai:latest", force=True)
    assert server.sent[0].path_url == ("/api/workers/w%201/images/vllm%2Fvllm-openai%3Alatest?force=true&wait=25.0")


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_an_authority_of_the_operators_is_trusted_by_either_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    answer = b'{"status": "ok", "version": "x"}'
    check_trust(tmp_path, monkeypatch, variable, answer, lambda url: Client(url, "mst_key_x").health(), Unreachable)
