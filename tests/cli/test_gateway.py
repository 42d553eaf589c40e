"""What a LiteLLM should have, and the steps to it; the real one is asked by tests/gateway."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.gateway import Model, Plan, plan
from muster.litellm import LiteLLM, LiteLLMError

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
