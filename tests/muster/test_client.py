"""The client against the real app and the real agent: every route has a method, and what is waited for comes."""

from __future__ import annotations

import inspect
import re

import msgspec
import pytest

import muster
from muster import NewDeployment, TimedOut
from muster import client as client_module
from muster.api.endpoints import ENDPOINTS, Access
from muster.api.lifecycle import Status
from muster.api.resources import Accepted
from muster.client import About
from tests.fixtures.operators import Operators
from tests.fixtures.resources import deployment
from tests.fixtures.scripted import Scripted

MODEL = NewDeployment(model="org/model", gpus=0, name="m")


def test_every_route_for_operators_has_a_method() -> None:
    called = set(re.findall(r'(?:call|text|ask|_ask|_pages)\(\s*"(\w+)"', inspect.getsource(client_module)))
    timelines: list[About] = [{}, {"worker_id": "w"}, {"deployment_id": "d"}]
    called |= {client_module._timeline(about) for about in timelines}
    others = (Access.WORKER, Access.GATEWAY)
    theirs = {e.name for e in ENDPOINTS if e.access not in others} - {"register", "openapi"}
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


@pytest.mark.parametrize(
    ("desired", "status", "is_over"),
    [
        ("running", "running", True),
        ("running", "starting", False),
        ("running", "error", True),
        ("running", "stopped", True),
        ("stopped", "running", False),
        ("stopped", "stopping", False),
        ("stopped", "stopped", True),
        ("stopped", "error", True),
    ],
)
def test_a_deployment_is_settled_when_it_is_as_wanted_or_has_ended(desired: str, status: str, is_over: bool) -> None:
    assert muster.settled(deployment(desired=desired, status=status)) is is_over


def test_a_watch_ends_with_timed_out_after_its_timeout(operators: Operators) -> None:
    operators.away = True
    client = operators.client()
    made = client.deploy(MODEL)
    with pytest.raises(TimedOut, match="timed out after 5 s"):
        list(client.watch_deployment(made.deployment_id, timeout=5))


def test_a_watch_goes_on_after_a_control_plane_that_was_away(operators: Operators) -> None:
    client = operators.client()
    made = client.deploy(MODEL)

    def gone() -> None:
        operators.app.down = operators.waited < 100

    operators.meanwhile, operators.away = gone, True
    seen = client.watch_deployment(made.deployment_id)
    assert next(seen).status is Status.PENDING
    assert next(seen).status is Status.PENDING
    assert operators.waited >= 100


def test_the_answer_of_a_worker_is_waited_for_and_watched(operators: Operators) -> None:
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


def test_without_a_watch_the_route_waits_first_and_then_the_client(operators: Operators) -> None:
    client, began = operators.client(), operators.clock()
    worker = next(client.workers())
    assert client.containers(worker.worker_id).containers == []
    (asked,) = [path for path in operators.app.asked if "/containers" in path]
    assert asked.endswith("/containers?wait=25.0")
    assert operators.clock() - began == pytest.approx(25 + operators.waited) and operators.waited > 0


def test_a_secret_is_made_anew_where_its_answer_was_lost() -> None:
    token = {"token_id": "t1", "name": None, "created_at": "2026-01-01T00:00:00Z", "expires_at": None, "max_uses": 1}
    token |= {"uses": 0, "takeover": False, "ephemeral": False}
    answers = [token, token, {**token, "token_id": "t2", "token": "mst_reg_2"}]
    server = Scripted(*((200, msgspec.json.encode(each), {}) for each in answers))
    assert server.client().create_token().token == "mst_reg_2"
    assert [(sent.method, sent.path_url) for sent in server.sent] == [
        ("POST", "/api/registration-tokens"),
        ("DELETE", "/api/registration-tokens/t1"),
        ("POST", "/api/registration-tokens"),
    ]


def test_a_page_is_fetched_when_it_is_read() -> None:
    key = {"role": "viewer", "created_at": "2026-01-01T00:00:00Z"}
    first = {"api_keys": [key | {"key_id": each, "name": each} for each in "ab"], "next_token": "n/t"}
    second = {"api_keys": [key | {"key_id": "c", "name": "c"}], "next_token": None}
    server = Scripted(*((200, msgspec.json.encode(page), {}) for page in (first, second)))
    keys = server.client().api_keys()
    assert [next(keys).name, next(keys).name] == ["a", "b"]
    assert [sent.path_url for sent in server.sent] == ["/api/api-keys?limit=500"]
    assert [each.name for each in keys] == ["c"]
    assert [sent.path_url for sent in server.sent[1:]] == ["/api/api-keys?limit=500&next_token=n%2Ft"]
