"""The client against the real app and the real agent: every route has a method, waits end, errors are what they say."""

from __future__ import annotations

import inspect
import re

import msgspec
import pytest
import requests

import muster
from agent.engines import Instance
from chalicelib.contract.endpoints import ENDPOINTS, Access
from chalicelib.contract.lifecycle import Status
from chalicelib.contract.resources import Accepted
from muster import AuthError, Client, Conflict, Invalid, NewDeployment, NotFound, TimedOut, Unreachable, WorkerFailed
from muster import client as client_module
from muster.client import About
from muster.transport import MAX_ANSWER
from tests.fixtures.fake_server import Answer, FakeServer, error
from tests.fixtures.flaky import Flaky
from tests.fixtures.operators import URL, Operators

MODEL = NewDeployment(model="org/model", gpus=0, name="m")


def test_every_route_for_operators_has_a_method() -> None:
    called = set(re.findall(r'(?:call|text|ask|_ask|_pages)\(\s*"(\w+)"', inspect.getsource(client_module)))
    timelines: list[About] = [{}, {"worker_id": "w"}, {"deployment_id": "d"}]
    called |= {client_module._timeline(about) for about in timelines}
    theirs = {e.name for e in ENDPOINTS if e.access is not Access.WORKER} - {"register", "openapi"}
    assert called == theirs


def test_a_model_comes_up_while_it_is_watched(operators: Operators) -> None:
    client = operators.client()
    made = client.deploy(MODEL)
    seen = [each.status for each in client.watch_deployment(made.deployment_id, timeout=60)]
    assert (seen[0], seen[-1]) == (Status.PENDING, Status.RUNNING)
    stopping = client.stop(made.deployment_id)
    assert stopping.status is Status.RUNNING and not muster.settled(stopping)
    *_, stopped = client.watch_deployment(made.deployment_id, timeout=60)
    assert stopped.status is Status.STOPPED
    assert client.delete(made.deployment_id).name == "m"
    assert list(client.deployments()) == []


def test_a_watch_gives_up_when_it_is_told_to(operators: Operators) -> None:
    operators.away = True
    client = operators.client()
    made = client.deploy(MODEL)
    with pytest.raises(TimedOut, match="not done after 5 s"):
        list(client.watch_deployment(made.deployment_id, timeout=5))


def test_a_watch_bears_a_control_plane_that_is_away(operators: Operators) -> None:
    client = operators.client()
    made = client.deploy(MODEL)

    def gone() -> None:
        operators.app.down = operators.waited < 100

    operators.meanwhile, operators.away = gone, True
    seen = client.watch_deployment(made.deployment_id)
    assert next(seen).status is Status.PENDING
    assert next(seen).status is Status.PENDING
    assert operators.waited >= 100


def test_what_a_worker_answers_is_waited_for_and_watched(operators: Operators) -> None:
    client = operators.client()
    worker = next(client.workers())
    told: list[object] = []
    assert client.containers(worker.worker_id, watch=told.append).containers == []
    assert isinstance(told[0], Accepted)
    assert client.pull_image(worker.worker_id, "vllm/vllm-openai:latest", watch=told.append).tags
    assert [image.tags for image in client.images(worker.worker_id, fresh=True, watch=told.append).images]
    operation = client.begin_pull(worker.worker_id, "vllm/vllm-openai:nothing")
    *_, ended = client.watch_operation(operation)
    assert (ended.status, ended.error_code) == ("failed", "IMAGE_NOT_FOUND")


def test_errors_are_of_the_kind_that_they_are(operators: Operators) -> None:
    client = operators.client()
    worker = next(client.workers())
    client.deploy(MODEL)
    with pytest.raises(Conflict) as conflict:
        client.deploy(MODEL)
    assert (conflict.value.error_code, conflict.value.status) == ("DEPLOYMENT_NAME_IN_USE", 409)
    with pytest.raises(NotFound, match="there is no such deployment"):
        client.deployment("no such")
    with pytest.raises(AuthError, match="UNAUTHENTICATED"):
        list(operators.client("mst_key_wrong").workers())
    with pytest.raises(Invalid, match="gpus"):
        client.deploy(NewDeployment(model="m", gpus=-1))
    with pytest.raises(NotFound, match="IMAGE_NOT_FOUND"):
        client.pull_image(worker.worker_id, "vllm/vllm-openai:nothing", watch=lambda _: None)
    engine = operators.engine
    engine.add(Instance(id="foreign", name="foreign", image="x", state="running"))
    with pytest.raises(WorkerFailed, match="NOT_OURS"):
        client.stop_container(worker.worker_id, "foreign", watch=lambda _: None)


# On the way


def test_a_get_is_asked_again_and_a_post_under_the_same_key() -> None:
    with Flaky(None, (503, {"Retry-After": "0"}), (200, {}), None, (200, {})) as server:
        client = Client(server.url, "mst_key_x")
        assert client.health().version == "x"
        with pytest.raises(Unreachable, match="another version"):  # it is no deployment, but it is an answer
            client.deploy(MODEL)
    assert [each.split()[0] for each in server.seen] == ["GET", "GET", "GET", "POST", "POST"]
    keys = [line for each in server.seen for line in each.splitlines() if line.lower().startswith("idempotency-key")]
    assert len(keys) == 2 and keys[0] == keys[1]


@pytest.mark.parametrize("what", ["change", "delete"])
def test_what_may_have_been_done_is_not_asked_again_by_itself(what: str) -> None:
    with Flaky(None, (200, {})) as server:
        client = Client(server.url, "mst_key_x")
        with pytest.raises(Unreachable, match="it closed the connection"):
            client.delete("d") if what == "delete" else client.change("d", muster.DeploymentPatch(gpus=1))
    assert len(server.seen) == 1


def test_a_secret_whose_answer_was_lost_is_made_anew() -> None:
    token = {"token_id": "t1", "name": None, "created_at": "2026-01-01T00:00:00Z", "expires_at": None, "max_uses": 1}
    token |= {"uses": 0, "takeover": False, "ephemeral": False}
    answers = [token, token, {**token, "token_id": "t2", "token": "mst_reg_2"}]
    server = Scripted(*((200, msgspec.json.encode(each), {}) for each in answers))
    assert to(server).create_token().token == "mst_reg_2"
    assert [(sent.method, sent.path_url) for sent in server.sent] == [
        ("POST", "/api/registration-tokens"),
        ("DELETE", "/api/registration-tokens/t1"),
        ("POST", "/api/registration-tokens"),
    ]


# Whatever else may answer


def to(server: FakeServer) -> Client:
    return Client(URL, "mst_key_x", session=server.session_to_here())


class Scripted(FakeServer):
    """Answers `script`, one after the other."""

    def __init__(self, *script: Answer | Exception) -> None:
        super().__init__()
        self.failures = list(script)
        self.sent: list[requests.PreparedRequest] = []

    def exchange(self, request: requests.PreparedRequest) -> requests.Response:
        self.sent.append(request)
        return super().exchange(request)


def test_pages_are_fetched_as_they_are_read() -> None:
    key = {"role": "viewer", "created_at": "2026-01-01T00:00:00Z"}
    first = {"api_keys": [key | {"key_id": each, "name": each} for each in "ab"], "next_token": "n/t"}
    second = {"api_keys": [key | {"key_id": "c", "name": "c"}], "next_token": None}
    server = Scripted(*((200, msgspec.json.encode(page), {}) for page in (first, second)))
    keys = to(server).api_keys()
    assert [next(keys).name, next(keys).name] == ["a", "b"]
    assert [sent.path_url for sent in server.sent] == ["/api/api-keys?limit=500"]
    assert [each.name for each in keys] == ["c"]
    assert [sent.path_url for sent in server.sent[1:]] == ["/api/api-keys?limit=500&next_token=n%2Ft"]


def test_what_is_not_a_control_plane_is_said_to_be_none() -> None:
    html: Answer = (502, b"<html>Bad gateway</html>", {})
    with pytest.raises(Unreachable, match="answers 502, and not as a control plane does"):
        to(Scripted(html)).health()
    with pytest.raises(Unreachable, match="give the URL that it redirects to"):
        to(Scripted((301, b"", {"Location": "https://elsewhere"}))).health()
    with pytest.raises(Unreachable, match="another version"):
        to(Scripted((200, b'{"status": 7}', {}))).health()


def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    healthy = b'{"status": "ok", "version": "x"}'
    server = Scripted(*((200, healthy.rjust(MAX_ANSWER + more), {}) for more in (0, 1)))
    assert to(server).health().version == "x"
    with pytest.raises(Unreachable, match="an answer of more than 67108864 bytes"):
        to(server).health()


def test_the_key_is_in_no_error() -> None:
    failures: list[Answer | Exception] = [error(401, "UNAUTHENTICATED"), requests.ConnectionError("Bearer mst_key_x")]
    for failure in failures:
        with pytest.raises(muster.MusterError) as raised:
            to(Scripted(failure)).health()
        assert "mst_key_x" not in str(raised.value)


def test_every_post_has_a_key_of_its_own_unless_the_caller_has_one() -> None:
    server = Scripted(*[error(503, "UNAVAILABLE")] * 3)
    for key in (None, None, "mine"):
        with pytest.raises(Unreachable):
            to(server).deploy(MODEL, idempotency_key=key)
    first, second, third = (sent.headers["Idempotency-Key"] for sent in server.sent)
    assert first != second and third == "mine"


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_is_no_way_to_another_route(name: str) -> None:
    """Workers make names of images and models, and a URL has no way to write such a one."""
    server = Scripted()
    with pytest.raises(Invalid, match="there is nothing of the name"):
        to(server).delete_image("w1", name)
    assert server.sent == []


def test_ids_are_quoted_once() -> None:
    server = Scripted(error(404, "IMAGE_NOT_FOUND"))
    with pytest.raises(NotFound):
        to(server).delete_image("w 1", "vllm/vllm-openai:latest", force=True)
    assert server.sent[0].path_url == ("/api/workers/w%201/images/vllm%2Fvllm-openai%3Alatest?force=true&wait=25.0")
