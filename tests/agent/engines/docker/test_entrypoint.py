"""The model in the form that an image documents."""

from __future__ import annotations

from dataclasses import replace

import pytest

from muster_agent.engines.docker.entrypoint import command_line
from tests.fixtures.docker_rig import DockerRig
from tests.fixtures.engine_suite import only
from tests.fixtures.shell_image import build
from tests.fixtures.waiting import eventually

GIVEN = ("--model", "org/model", "--port", "8000")
BY_FLAG, BY_POSITION = list(GIVEN), ["org/model", "--port", "8000"]


@pytest.mark.parametrize(
    ("entrypoint", "command"),
    [
        (["python3", "-m", "vllm.entrypoints.openai.api_server"], BY_FLAG),
        (["vllm", "serve"], BY_POSITION),
        (["/opt/venv/bin/vllm", "serve"], BY_POSITION),
        (["/usr/bin/tini", "--", "vllm", "serve"], BY_POSITION),
        (["vllm"], ["serve", *BY_POSITION]),
        ([], ["vllm", "serve", *BY_POSITION]),
        (["/opt/nvidia/nvidia_entrypoint.sh"], ["vllm", "serve", *BY_POSITION]),
        (["tini", "--"], ["vllm", "serve", *BY_POSITION]),
        (["/start.sh"], BY_FLAG),
        (["python3", "server.py"], BY_FLAG),
        (["bash", "-c", 'exec vllm serve "$@"', "--"], BY_FLAG),
    ],
)
def test_the_entry_point_decides_how_the_model_is_given(entrypoint: list[str], command: list[str]) -> None:
    assert command_line(entrypoint, GIVEN) == command


def test_what_does_not_begin_with_a_model_stays_as_it_is() -> None:
    assert command_line([], ("x", "--model", "y")) == ["x", "--model", "y"]
    assert command_line(["vllm", "serve"], ()) == []


ECHO = '"/bin/sh", "-c", "echo started: $0 $*; sleep 1000"'


@pytest.mark.docker
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ('"vllm", "serve"', "started: vllm serve org/model --port 8000"),
        ('"python3", "-m", "vllm.entrypoints.openai.api_server"', "api_server --model org/model --port 8000"),
    ],
)
def test_a_container_of_a_real_engine_is_started_in_the_form_of_its_image(
    rig: DockerRig, words: str, said: str
) -> None:
    build(rig.client, "muster-test/entry:1", f"ENTRYPOINT [{ECHO}, {words}]")
    instance = rig.engine.start(replace(rig.spec(), image="muster-test/entry:1", arguments=GIVEN))
    eventually(lambda: rig.engine.logs(instance.id, 10, None).text, lambda text: said in text, "its words")
    assert only(rig).state == "running"


@pytest.mark.docker
def test_a_given_entry_point_replaces_that_of_the_image_and_decides_instead(rig: DockerRig) -> None:
    entrypoint = ("/bin/sh", "-c", "echo started: $0 $*; sleep 1000", "vllm", "serve")
    instance = rig.engine.start(replace(rig.spec(), arguments=GIVEN, entrypoint=entrypoint))
    wanted = "started: vllm serve org/model --port 8000"
    eventually(lambda: rig.engine.logs(instance.id, 10, None).text, lambda text: wanted in text, "its words")
