"""What a LiteLLM should have, and the steps to it; the real one is asked by tests/gateway."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster import WorkerPatch
from muster.gateway import Model, Plan, plan
from muster.litellm import LiteLLM, LiteLLMError
from tests.fixtures.operators import Operators

MODELS = st.lists(
    st.builds(
        Model, st.sampled_from("ab"), st.sampled_from(["http://x/v1", "http://y/v1"]), st.just("k"), st.text("de")
    ),
    unique_by=lambda each: each.id,
    max_size=6,
)


@given(MODELS, MODELS)
def test_executed_a_plan_leaves_what_is_wanted_and_planning_again_is_empty(
    wanted: list[Model], before: list[Model]
) -> None:
    present = {each.id for each in before}
    made = plan(wanted, present)
    assert not {each.id for each in made.add} & present
    after = (present | {each.id for each in made.add}) - set(made.delete)
    assert after == {each.id for each in wanted}
    assert plan(wanted, after) == Plan([], [])


def test_another_place_or_key_is_another_model() -> None:
    one = Model("m", "http://x/v1", "k", "d")
    others = [
        Model("m", "http://y/v1", "k", "d"),
        Model("m", "http://x/v1", "l", "d"),
        Model("n", "http://x/v1", "k", "d"),
    ]
    assert len({each.id for each in [one, *others]}) == 4
    assert one.id == Model("m", "http://x/v1", "k", "d").id


class FakeLiteLLM:
    """The three routes that a gateway asks, over HTTP, as LiteLLM 1.106 answers them."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, Any]] = {}
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(200, {"data": list(fake.models.values())})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.headers["Authorization"] != "Bearer sk-good":
                    return self.answer(401, {"error": {"message": "Authentication Error"}})
                if self.path == "/model/new":
                    fake.models[body["model_info"]["id"]] = body
                elif fake.models.pop(body["id"], None) is None:
                    return self.answer(400, {"error": {"message": f"Model with id={body['id']} not found in db"}})
                self.answer(200, {})

            def answer(self, status: int, body: object) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def proxy() -> Iterator[FakeLiteLLM]:
    fake = FakeLiteLLM()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


def test_only_the_models_of_ones_own_are_seen_and_a_second_delete_is_no_error(proxy: FakeLiteLLM) -> None:
    proxy.models = {"theirs": {"model_name": "x", "model_info": {"id": "theirs"}}}
    mine, other = LiteLLM(proxy.url, "sk-good", "me"), LiteLLM(proxy.url, "sk-good", "another")
    model = Model("m", "http://x/v1", "k", "d")
    mine.add(model)
    assert (mine.own(), other.own()) == ([model.id], [])
    assert proxy.models[model.id]["litellm_params"] == {
        "model": "hosted_vllm/m",
        "api_base": "http://x/v1",
        "api_key": "k",
    }
    mine.delete(model.id)
    mine.delete(model.id)
    assert list(proxy.models) == ["theirs"]


def test_what_litellm_refuses_is_said(proxy: FakeLiteLLM) -> None:
    with pytest.raises(LiteLLMError, match=r"401.*Authentication Error"):
        LiteLLM(proxy.url, "sk-bad", "me").add(Model("m", "http://x/v1", "k", "d"))
    with pytest.raises(LiteLLMError, match=r"does not answer at http://127\.0\.0\.1:9"):
        LiteLLM("http://127.0.0.1:9", "sk-good", "me").own()


# The command


def sync(proxy: FakeLiteLLM, *options: str) -> str:
    return shlex.join(["gateway", "sync", "--litellm-url", proxy.url, "--litellm-key", "sk-good", "--once", *options])


@pytest.fixture
def reachable(operators: Operators) -> Operators:
    """Its worker has an address and a label."""
    worker = next(operators.client().workers())
    operators.client().change_worker(worker.worker_id, WorkerPatch(address="10.0.0.7", labels={"site": "lab"}))
    return operators


def test_what_runs_is_there_and_what_is_stopped_is_not(reachable: Operators, proxy: FakeLiteLLM) -> None:
    proxy.models = {"theirs": {"model_name": "x", "model_info": {"id": "theirs"}}}
    assert reachable.out(sync(proxy)) == ""
    reachable.out("deploy org/model --name one --gpus 0 --wait")
    reachable.out("deploy org/model --name two --gpus 0 --wait")
    added = reachable.out(sync(proxy)).splitlines()
    assert [line.split(" at ")[0] for line in added] == ["added    org/model"] * 2
    assert reachable.out(sync(proxy)) == "", "in step"
    mine = [each for each in proxy.models.values() if each["model_name"] == "org/model"]
    keys = {each.api_key for each in reachable.client().deployments()}
    assert {each["litellm_params"]["api_key"] for each in mine} == keys and len(keys) == 2
    assert all(each["litellm_params"]["api_base"].startswith("http://10.0.0.7:") for each in mine)
    reachable.out("stop one")
    assert reachable.out(sync(proxy)).startswith("removed  muster-")
    assert len(proxy.models) == 2 and "theirs" in proxy.models


def test_a_selector_and_a_name_leave_the_rest_alone(reachable: Operators, proxy: FakeLiteLLM) -> None:
    reachable.out("deploy org/model --name one --gpus 0 --wait")
    assert reachable.out(sync(proxy, "--selector", "site=far")) == ""
    assert reachable.out(sync(proxy, "--selector", "site=lab")).startswith("added")
    assert reachable.out(sync(proxy, "--selector", "site=far", "--name", "another")) == ""
    removed = reachable.out(sync(proxy, "--selector", "site=far", "-o", "json"))
    assert json.loads(removed)["change"] == "removed"


def test_a_key_that_was_set_by_hand_is_left_out_and_said_so(reachable: Operators, proxy: FakeLiteLLM) -> None:
    reachable.out("deploy org/model --name one --gpus 0 --wait --env VLLM_API_KEY=mine")
    said = reachable.invoke(sync(proxy))
    assert (said.exit_code, said.stdout, proxy.models) == (0, "", {})
    assert said.stderr == "one is left out: its VLLM_API_KEY was set by hand, and cannot be read back\n"


def test_a_viewers_key_is_not_enough(reachable: Operators, proxy: FakeLiteLLM) -> None:
    reachable.out("deploy org/model --name one --gpus 0 --wait")
    viewer = reachable.client().create_key("looks", "viewer")
    said = reachable.invoke(sync(proxy), key=str(viewer.key))
    assert (said.exit_code, proxy.models) == (4, {}) and "use an operator's API key" in said.stderr


def test_while_either_side_is_silent_nothing_is_taken_away(reachable: Operators, proxy: FakeLiteLLM) -> None:
    reachable.out("deploy org/model --name one --gpus 0 --wait")
    reachable.out(sync(proxy))
    reachable.app.down = True
    assert reachable.invoke(sync(proxy)).exit_code == 6
    reachable.app.down = False
    nobody = sync(proxy).replace(proxy.url, "http://127.0.0.1:9")
    assert "LiteLLM does not answer" in reachable.invoke(nobody).stderr
    assert len(proxy.models) == 1
