"""The gateway's paths: models, metrics, health, and what is not served."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.event_loop import run
from tests.fixtures.gateway_world import JSON, SECRET, Answer, Reply, World, ask, caller, replica
from tests.fixtures.waiting import PATIENCE


def asked(folder: Path, path: str, method: str = "GET", **options: Any) -> Reply:
    async def go() -> Reply:
        world = World(folder)
        world.serve(replica(), replica(2, "llama"), callers=[caller(models=["qwen"])])
        world.answers(1, Answer(200, JSON, [b"{}"]))
        try:
            return await ask(world.application, path=path, method=method, **options)
        finally:
            world.close()

    return run(go())


def test_models_are_those_that_the_key_may_use(tmp_path: Path) -> None:
    listed = asked(tmp_path, "/v1/models").json
    assert [model["id"] for model in listed["data"]] == ["qwen"] and listed["object"] == "list"
    assert asked(tmp_path, "/v1/models/qwen").json["id"] == "qwen"
    assert asked(tmp_path, "/v1/models/llama").error == (404, "model_not_found")
    assert asked(tmp_path, "/v1/models", secret=None).error == (401, "invalid_api_key")
    assert asked(tmp_path, "/v1/models", "POST").error == (405, "method_not_allowed")


def test_each_request_but_those_of_monitors_has_a_line(tmp_path: Path) -> None:
    async def go() -> list[dict[str, Any]]:
        world = World(tmp_path)
        world.serve(replica())
        world.access_log.start()
        ids = []
        try:
            for path, method in (("/v1/models", "GET"), ("/v1/models/x", "GET"), ("/v2", "POST"), ("/healthz", "GET")):
                ids.append((await ask(world.application, path=path, method=method)).headers["x-request-id"])
        finally:
            world.close()
            world.access_log.stop(PATIENCE)
        lines = [json.loads(line) for line in "".join(world.lines).splitlines()]
        assert [line["request_id"] for line in lines] == ids[:3] and len(set(ids)) == 4
        return lines

    found = [(line["path"], line["status"], line.get("code"), line.get("key")) for line in run(go())]
    assert found == [
        ("/v1/models", 200, None, "app"),
        ("/v1/models/x", 404, "model_not_found", "app"),
        ("/v2", 404, "route_not_found", None),
    ]


def test_metrics_and_health_need_no_key(tmp_path: Path) -> None:
    assert b"muster_gateway_tunnels 0.0" in asked(tmp_path, "/metrics", secret=None).body
    assert json.loads(asked(tmp_path, "/healthz", secret=None).body)["status"] == "ok"
    assert asked(tmp_path, "/metrics", "POST", secret=None).status == 405


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/", "/v2/models", "/v1/load_lora_adapter", "/v1/../metrics", "/v1//completions", "/api/workers"],
)
def test_everything_else_is_not_there(tmp_path: Path, path: str) -> None:
    assert asked(tmp_path, path, "POST").error == (404, "route_not_found")


def test_a_path_of_models_takes_post_alone(tmp_path: Path) -> None:
    reply = asked(tmp_path, "/v1/chat/completions", "GET")
    assert reply.error == (405, "method_not_allowed") and reply.headers["allow"] == "POST"


def test_audio_is_a_form_whose_model_is_found(tmp_path: Path) -> None:
    form = (
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n"model"\x00\xff\r\n'
        b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nqwen\r\n--B--\r\n'
    )

    async def go() -> tuple[Reply, bytes]:
        world = World(tmp_path)
        world.serve(replica())
        way = world.answers(1, Answer(200, JSON, [b'{"text":"x"}']))
        scope_headers = [(b"content-type", b"multipart/form-data; boundary=B")]
        try:
            reply = await ask(
                world.application, form, "/v1/audio/transcriptions", headers=scope_headers, content_type=None
            )
            return reply, way.requests[0].body
        finally:
            world.close()

    reply, sent = run(go())
    assert (reply.json, sent) == ({"text": "x"}, form)


@pytest.mark.parametrize("secret", [None, "mst_key_" + "x" * 43])
def test_nothing_is_read_of_a_body_without_a_good_key(tmp_path: Path, secret: str | None) -> None:
    read: list[int] = []
    reply = asked(tmp_path, "/v1/chat/completions", "POST", body=b"x" * 1000, secret=secret, on_read=read.append)
    assert (reply.error, read) == ((401, "invalid_api_key"), [])


def test_a_body_that_is_too_large_is_refused_by_its_length_alone(tmp_path: Path) -> None:
    read: list[int] = []
    reply = asked(tmp_path, "/v1/completions", "POST", body=b"x" * 1_000_001, on_read=read.append)
    assert (reply.error, read) == ((413, "body_too_large"), [])


def looked(folder: Path, look: Callable[[World], object], secret: str = SECRET) -> tuple[Reply, int]:
    """The answer to a request of qwen while nothing is known, and how many looks are left of one."""

    async def go() -> tuple[Reply, int]:
        world = World(folder)
        world.answers(1, Answer(200, JSON, [b"{}"]))
        world.looks.append(lambda: look(world))
        try:
            return await ask(world.application, {"model": "qwen"}, secret=secret), len(world.looks)
        finally:
            world.close()

    return run(go())


def test_a_key_that_was_made_a_moment_ago_is_good(tmp_path: Path) -> None:
    reply, left = looked(tmp_path, lambda world: world.serve(replica()))
    assert (reply.status, left) == (200, 0)
    reply, left = looked(tmp_path, lambda world: world.serve(replica(), callers=[caller("mst_key_" + "o" * 43)]))
    assert (reply.error, left) == ((401, "invalid_api_key"), 0)


def test_what_cannot_be_a_key_is_not_looked_for(tmp_path: Path) -> None:
    reply, left = looked(tmp_path, lambda world: world.serve(replica()), secret="sk-anything")
    assert (reply.error, left) == ((401, "invalid_api_key"), 1)


def test_a_model_that_was_deployed_a_moment_ago_is_found(tmp_path: Path) -> None:
    async def go() -> list[tuple[int, str]]:
        world = World(tmp_path)
        world.serve()
        world.answers(1, Answer(200, JSON, [b"{}"]))
        world.looks += [lambda: None, lambda: world.serve(replica())]
        try:
            missing = (await ask(world.application, {"model": "qwen"})).error
            return [missing, ((await ask(world.application, {"model": "qwen"})).status, "")]
        finally:
            world.close()

    assert run(go()) == [(404, "model_not_found"), (200, "")]
