"""What the hub of models is asked, and what each of its answers means."""

from __future__ import annotations

import pytest

from muster_agent.backends.hub import Finding, HuggingFace, Question, question
from tests.fixtures.hub_server import HubServer


def ask(hub: HubServer, model: str, token: str | None = None, revision: str = "main") -> Finding | None:
    return HuggingFace().obstacle(Question(model, revision, hub.url, token))


@pytest.mark.parametrize(
    ("model", "token", "revision", "code", "said"),
    [
        ("org/model", None, "main", None, ""),
        ("org/model", None, "gguf", None, ""),
        ("org/model", None, "v9", "MODEL_NOT_FOUND", "config.revision"),
        ("org/none", None, "main", "MODEL_NOT_FOUND", "private one needs HF_TOKEN"),
        ("org/none", "good", "main", "MODEL_NOT_FOUND", "check `model`"),
        ("org/gated", None, "main", "MODEL_GATED", "no token"),
        ("org/gated", "good", "main", "MODEL_GATED", "license"),
        ("org/gated", "accepted", "main", None, ""),
        ("org/model", "stale", "main", "MODEL_GATED", "expired"),
    ],
)
def test_each_answer_of_the_hub_says_whether_the_model_can_be_had(
    hub: HubServer, model: str, token: str | None, revision: str, code: str | None, said: str
) -> None:
    found = ask(hub, model, token, revision)
    assert (found.error_code if found else None) == code
    assert found is None or (said in found.message and not found.warns_only)
    assert hub.seen == [(f"/{model}/resolve/{revision}/config.json", f"Bearer {token}" if token else None)]
    assert found is None or token is None or token not in found.message


def test_a_hub_that_cannot_be_asked_only_warns(hub: HubServer) -> None:
    for endpoint in (hub.url, "http://127.0.0.1:1", "nonsense"):
        found = HuggingFace().obstacle(Question("org/broken", "main", endpoint))
        assert found is not None and found.warns_only
        assert found.error_code == "HUB_UNREACHABLE"


@pytest.mark.parametrize(
    ("listing", "size"),
    [
        (b'{"siblings": [{"rfilename": "a.safetensors", "size": 5}, {"rfilename": "b.safetensors", "size": 7},'
         b' {"rfilename": "a.bin", "size": 100}, {"rfilename": "README.md", "size": 1}]}', 12),
        (b'{"siblings": [{"rfilename": "a.bin", "size": 100}]}', 100),
        (b'{"siblings": [{"rfilename": "a.safetensors"}]}', None),
        (b"<html>", None),
        (b"[" * 5000, None),
        (b"{}", None),
    ],
)  # fmt: skip
def test_the_bytes_to_download_are_those_of_the_first_format_that_is_there(
    hub: HubServer, listing: bytes, size: int | None
) -> None:
    hub.listing = listing
    assert HuggingFace().weights(Question("org/model", "main", hub.url)) == size


def test_a_model_from_a_path_a_bucket_or_offline_is_not_asked_for() -> None:
    asked = question("org/model:Q4", "v2", {"HF_ENDPOINT": "http://mirror/", "HF_TOKEN": "t"})
    assert asked == Question("org/model", "v2", "http://mirror", "t")
    assert "'t'" not in repr(asked)
    assert question("org/model", None, {}) == Question("org/model", "main")
    for model, env in (("/models/a", {}), ("s3://bucket/a", {}), ("org/model", {"HF_HUB_OFFLINE": "1"})):
        assert question(model, None, env) is None


def test_a_models_config_is_read_also_where_the_hub_moved_it_and_never_from_another_host(hub: HubServer) -> None:
    hub.listing = b'{"a": 1}'
    asked = Question("org/model", "main", hub.url, "good")
    path = "/org/model/resolve/main/config.json"
    assert HuggingFace().config(asked) == b'{"a": 1}'
    hub.moved[path] = "/api/resolve-cache/config.json"
    assert HuggingFace().config(asked) == b'{"a": 1}'
    assert hub.seen[-1] == ("/api/resolve-cache/config.json", "Bearer good")
    for elsewhere in ("http://127.0.0.1:1/x", "//127.0.0.1:1/x"):
        hub.moved[path] = elsewhere
        assert HuggingFace().config(asked) is None
    assert HuggingFace().config(Question("org/model", "main", "http://127.0.0.1:1")) is None
