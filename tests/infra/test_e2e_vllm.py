"""`make e2e-vllm` as a process, with the stand-in behind an interpreter that pretends to have vLLM: nothing is left
behind, whenever it is ended and however its model fails."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import docker
import psutil
import pytest

from infra import fake_vllm_image
from infra.e2e_vllm import as_child, as_container
from tests.fixtures import ROOT
from tests.fixtures.process_tree import kill_tree
from tests.fixtures.waiting import deadline, eventually

LAST_WORDS = "Nothing was left behind."
INTERPRETER = f"""#!/bin/sh
if [ "$1" = -m ]; then shift 2; exec {sys.executable} {ROOT}/infra/fake_vllm.py "$@"; fi
echo making >&2
[ -z "$NO_MODEL" ] || exit 3
[ -z "$SLOW_MODEL" ] || sleep 1000
mkdir "$2" && echo '{{}}' >"$2/config.json"
"""

Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts it with a scratch directory below the test's folder, which is empty in the end."""
    python = tmp_path / "vllm-python"
    python.write_text(INTERPRETER)
    python.chmod(0o755)
    (tmp_path / "scratch").mkdir()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MUSTER_"))}
    started: list[subprocess.Popen[str]] = []

    def start(*image: str, **environment: str) -> subprocess.Popen[str]:
        running = subprocess.Popen(
            [sys.executable, "-m", "infra.e2e_vllm", str(python), *image],
            cwd=ROOT,
            env={**inherited, "TMPDIR": str(tmp_path / "scratch"), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(running)
        return running

    yield start
    for running in started:
        kill_tree(running, tmp_path)


def left(tmp_path: Path) -> list[str]:
    """The files in the scratch directory, and the processes that name it."""
    named = [each for each in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(each.info["cmdline"] or ())]
    return [str(each) for each in (tmp_path / "scratch").iterdir()] + [str(each) for each in named]


def until(running: subprocess.Popen[str], words: str) -> str:
    """What it said until then, and the line with these words."""
    assert running.stdout
    said = ""
    for line in running.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"it ended without {words!r}: {said}")


def test_the_stand_in_answers_in_the_place_of_a_real_one(run: Run, tmp_path: Path) -> None:
    running = run()
    with deadline(running):
        said, _ = running.communicate()
    assert running.returncode == 0, said
    assert "under the name tiny was asked: w7 w8 w9" in said and said.rstrip().endswith(LAST_WORDS)
    for checked in ("models: tiny is listed", "chat: 3 + ", "chat, streamed in ", "completion: 3 + "):
        assert checked in said
    assert "usage: 3 requests, 9 + " in said, "a word is a token of the stand-in's"
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("moment", "environment"),
    [
        ("making", {"SLOW_MODEL": "1"}),
        ("Starting the control plane", {}),
        ("Joining this machine as a worker", {}),
        ("worker ", {}),
        ("Deploying ", {}),
        ("starting", {"STANDIN_STALL": "1"}),
        ("Asking it", {}),
        ("Checking the answers", {}),
        ("Cleaning up", {}),
    ],
)
def test_sigterm_at_any_moment_leaves_nothing_and_prints_no_traceback(
    run: Run, tmp_path: Path, moment: str, environment: dict[str, str]
) -> None:
    running = run(**environment)
    with deadline(running):
        said = until(running, moment)
        running.send_signal(signal.SIGTERM)
        said += running.stdout.read() if running.stdout else ""
        assert running.wait() == (0 if moment == "Cleaning up" else 130), said
    assert "Traceback" not in said and said.rstrip().endswith(LAST_WORDS)
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"NO_MODEL": "1"}, "ended with exit code 3"),
        ({"STANDIN_CRASH": "gated"}, "The demo failed: the deployment failed: MODEL_GATED"),
        ({"STANDIN_CRASH": "exit127"}, "The demo failed: the deployment failed: IMAGE_UNSUITABLE"),
    ],
)
def test_a_failure_ends_it_with_the_reason_and_leaves_nothing(
    run: Run, tmp_path: Path, environment: dict[str, str], words: str
) -> None:
    running = run(**environment)
    with deadline(running):
        said, _ = running.communicate()
    assert running.returncode == 1
    assert words in said and said.rstrip().endswith(LAST_WORDS)
    assert 'e2e_vllm.py", line' not in said, "the only traceback is the model's"
    assert left(tmp_path) == []


@pytest.mark.docker
@pytest.mark.parametrize("is_alone", [False, True], ids=["", "control plane killed"])
def test_no_container_is_left_although_nobody_can_be_asked_to_stop_it(run: Run, tmp_path: Path, is_alone: bool) -> None:
    with closing(docker.from_env()) as client:
        fake_vllm_image.build(client)
        running = run(fake_vllm_image.REFERENCE)
        with deadline(running):
            said = until(running, "worker ")
            worker_id = said.rpartition("worker ")[2].partition(":")[0]
            theirs = partial(client.containers.list, all=True, filters={"label": f"muster.worker={worker_id}"})
            eventually(theirs, bool, "its container")
            if is_alone:
                children = psutil.Process(running.pid).children()
                next(each for each in children if "infra.local" in each.cmdline()).kill()
            running.send_signal(signal.SIGTERM)
            said = running.stdout.read() if running.stdout else ""
            running.wait()
        assert theirs() == []
    assert "Traceback" not in said and LAST_WORDS in said
    assert left(tmp_path) == []


def test_vllm_runs_as_a_child_with_its_model_by_flag_or_in_a_container_of_the_image() -> None:
    command = as_child("/opt/python 3").arguments[-1]
    assert shlex.split(command)[:2] == ["sh", "-c"]
    assert shlex.split(shlex.split(command)[2])[:3] == ["exec", "/opt/python 3", "-m"]
    made = as_container("image:1")
    assert (made.engine, made.image, made.arguments[-1]) == ("docker", "image:1", "image:1")
