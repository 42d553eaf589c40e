"""muster deploy: what is said while a model comes up, and what is left to do when it does not."""

from __future__ import annotations

import re

import pytest

from muster.api import resources as r
from muster.api.lifecycle import Status
from muster_agent.engines.base import RunSpec
from tests.fixtures.memory_engine import MemoryEngine
from tests.fixtures.operators import Operators

OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB."


def test_each_stage_is_shown_while_a_model_comes_up(operators: Operators) -> None:
    said = operators.out("deploy org/model --name m --gpus 0 --wait").splitlines()
    assert said[0] == "preflight: placed on gpu-1; waiting for its next heartbeat, in 30 s"
    assert "start:     ready" in said
    assert said[-1] == "m runs on gpu-1, reachable only from its host: the worker has no address"


def test_without_wait_it_returns_at_once_and_names_the_next_commands(operators: Operators) -> None:
    assert operators.out("deploy org/model --name m --gpus 0").splitlines() == [
        "m is pending on gpu-1",
        "muster ps shows the progress, muster logs -f m the log",
    ]
    assert operators.waited == 0


def test_a_program_gets_the_deployment_alone(operators: Operators) -> None:
    made = operators.json("deploy org/model --gpus 0 --wait --set max_model_len=4096 --env A=b", r.Deployment)
    assert (made.status, made.config, made.env) == (Status.RUNNING, {"max_model_len": 4096}, ["A"])


def test_the_progress_of_a_pull_is_shown(operators: Operators) -> None:
    seen: list[str] = []

    def look() -> None:
        operators.deliver()
        seen.append(operators.out("ps"))

    operators.engine.on_pull = look
    operators.out("deploy org/model --name m --gpus 0 --wait")
    assert seen and re.search(r"^m +downloading: downloading 1 B of 2 B, 50 % ", seen[0], re.MULTILINE)


def test_a_model_that_crashes_says_why_and_what_to_change(operators: Operators) -> None:
    operators.engine.first_words = OOM
    operators.probe.ready = set()
    operators.meanwhile = lambda: _die(operators.engine)
    said = operators.out("deploy org/model --name m --gpus 0 --no-restart --wait", 1)
    assert "End of the log" in said and OOM in said
    assert said.splitlines()[-1].startswith(
        "Error: m failed: CUDA_OUT_OF_MEMORY: Not enough free GPU memory: lower --gpu"
    )
    assert OOM in operators.invoke("show m").stdout, "the log is what show is asked for"
    shown = operators.out("show m")
    assert re.search(r"^Last crash, 0s ago: CUDA_OUT_OF_MEMORY: Not enough free GPU memory", shown, re.MULTILINE)
    assert re.search(r"^m +error: CUDA_OUT_OF_MEMORY ", operators.out("ps"), re.MULTILINE)
    failed = operators.invoke("start m --wait -o json")
    assert failed.exit_code == 1
    assert '"error_code": "CUDA_OUT_OF_MEMORY"' in failed.stdout and "Error: m failed" in failed.stderr


def test_a_model_that_fails_for_good_names_the_command_that_applies_the_fix(operators: Operators) -> None:
    operators.engine.first_words = "ValueError: LoRA rank 64 is greater than max_lora_rank 16."
    operators.probe.ready = set()
    operators.meanwhile = lambda: _die(operators.engine)
    said = operators.out("deploy org/model --name m --gpus 0 --wait", 1)
    assert "The proposed fix: muster set m max_lora_rank=64" in said.splitlines()


def _die(engine: MemoryEngine) -> None:
    for each in engine.instances():
        if each.state == "running":
            engine.die(each.id, 1)


def test_a_model_that_crashes_and_is_tried_again_says_so(operators: Operators) -> None:
    operators.engine.first_words = OOM
    operators.probe.ready = set()

    def once() -> None:
        if any(each.state == "running" for each in operators.engine.instances()) and not operators.probe.ready:
            _die(operators.engine)
            operators.probe.ready = {"org/model"}

    operators.meanwhile = once
    said = operators.out("deploy org/model --name m --gpus 0 --wait")
    assert re.search(r"^weights: +Not enough free GPU .* \(starts again in 10 s\)$", said, re.MULTILINE)
    assert "m runs on gpu-1" in said


def test_a_crash_loop_is_named_while_it_is_waited_for_and_when_time_is_up(operators: Operators) -> None:
    operators.engine.first_words = OOM
    operators.probe.ready = set()
    operators.meanwhile = lambda: _die(operators.engine)
    said = operators.out("deploy org/model --name m --gpus 0 --timeout 100s", 6)
    waits = re.findall(r"^weights: +(crash loop: CUDA_OUT_OF_MEMORY, next start in \d+ s)$", said, re.MULTILINE)
    assert len(waits) == 3, "one for each failure from the second on: after 20, 40 and 80 s"
    failed = re.findall(r"^retry: +CUDA_OUT_OF_MEMORY: .*, restart (\d)$", said, re.MULTILINE)
    assert failed == ["2", "3", "4"]
    loop = r"\(crash loop: CUDA_OUT_OF_MEMORY, next start in \d+ s\)"
    assert re.fullmatch(rf"Error: m is starting {loop} after 1m, and continues: muster ps", said.splitlines()[-1])


def test_a_timeout_ends_the_waiting_and_not_the_model(operators: Operators) -> None:
    operators.away = True
    said = operators.out("deploy org/model --name m --gpus 0 --timeout 5s", 6)
    assert "placed on gpu-1; waiting for its next heartbeat, in 30 s" in said
    assert said.splitlines()[-1] == "Error: m is pending after 5s, and continues: muster ps"


def test_a_model_without_a_place_says_what_is_missing(operators: Operators) -> None:
    said = operators.out("deploy org/model --name m --gpus 2 --timeout 2s", 6)
    assert "preflight: waiting for a place: gpu-1: 0 of 0 GPUs free, 2 needed" in said
    assert re.search(r"^m +pending: no place +org/model +- +2 wanted ", operators.out("ps"), re.MULTILINE)


def test_a_model_for_a_worker_that_is_away_says_when_it_was_last_seen(operators: Operators) -> None:
    operators.clock.pass_time(725)
    operators.away = True
    said = operators.out("deploy org/model --name m --gpus 0 --on gpu-1 --timeout 2s", 6)
    assert "placed on gpu-1; gpu-1 is offline, last seen 12m ago: the change reaches it when it is back" in said


def test_ctrl_c_ends_the_waiting_and_not_the_model(operators: Operators) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    operators.meanwhile = interrupt
    said = operators.out("deploy org/model --name m --gpus 0 --wait", 130)
    assert said.splitlines()[-1] == "Error: stopped waiting; m continues: muster ps, muster logs -f m"
    operators.meanwhile = lambda: None
    operators.wait(5)
    operators.wait(5)
    assert re.search(r"^m +running ", operators.out("ps"), re.MULTILINE)


def test_a_variable_may_have_the_value_that_it_has_here_or_there(operators: Operators) -> None:
    given: list[RunSpec] = []
    operators.engine.on_start = given.append
    operators.out(
        "deploy org/model --name m --gpus 0 --env HERE --env A=b=c --env-from-host SECRET --wait", HERE="from-here"
    )
    assert {"HERE": "from-here", "A": "b=c", "SECRET": "from-the-host"}.items() <= given[0].env.items()
    assert "--env NOT_HERE: not set in this shell" in operators.out("deploy x --env NOT_HERE", 2)


@pytest.mark.parametrize(("given", "wanted"), [("2", 2), ("0,1", [0, 1]), ("3,", [3]), ("0", 0)])
def test_gpus_are_asked_for_by_number_or_by_index(operators: Operators, given: str, wanted: r.GpuRequest) -> None:
    assert operators.json(f"deploy org/model --gpus {given}", r.Deployment).gpus == wanted


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--gpus many", "expected a count (2) or a list of GPU indexes (0,1 or 3,), got 'many'"),
        ("--set x", "flags: expected KEY=VALUE, got 'x'"),
        ("--selector =x", "--selector: expected KEY=VALUE, got '=x'"),
        ("--timeout soon", "expected a duration such as 90s, 10m, 2h or 3d, got 'soon'"),
        ("--gpus 65", "gpus: expected int <= 64"),
        ("--name -x-", "name: expected text of the form"),
    ],
)
def test_an_option_that_is_wrong_is_named(operators: Operators, options: str, complaint: str) -> None:
    assert complaint in operators.out(f"deploy org/model {options}", 2)
