"""What is shown while something comes about: the step it is at, in words, as a line or a bar."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from rich.progress import Progress

from muster.api import messages as m
from muster.api import resources as r
from muster.cli.follow import Bars, Lines, Step, step_of
from muster.cli.shell import Shell
from tests.fixtures.operators import Operators
from tests.fixtures.resources import NOW, condition, deployment, worker

LATER = NOW + timedelta(minutes=12)


@pytest.mark.parametrize(
    ("changes", "on", "step"),
    [
        ({}, None, Step("start", "ready", 1)),
        ({"status": "pending", "worker_id": None}, None, Step("preflight", "waiting for a place")),
        ({"status": "pending", "worker_id": None, "message": "no GPU"}, None, Step("preflight", "no GPU")),
        (
            {"status": "pending"},
            worker(due_in=7),
            Step("preflight", "placed on gpu-1; waiting for its next heartbeat, in 7 s"),
        ),
        (
            {"status": "pending"},
            worker(status="offline", due_in=None),
            Step(
                "preflight",
                "placed on gpu-1; gpu-1 is offline, last seen 12m ago: the change reaches it when it is back",
            ),
        ),
        ({"status": "pending"}, None, Step("preflight", "placed on its worker")),
        ({"status": "downloading"}, None, Step("pull", "downloading")),
        (
            {"status": "downloading", "progress": {"phase": "extracting", "percent": 40}},
            None,
            Step("pull", "extracting, 40 %", 0.4),
        ),
        ({"status": "starting", "progress": {"phase": "loading"}}, None, Step("weights", "loading")),
        ({"status": "starting", "progress": {"phase": "compiling"}}, None, Step("start", "compiling")),
        ({"status": "starting", "message": "starts again in 10 s"}, None, Step("weights", "starts again in 10 s")),
        ({"status": "error", "error_code": "PORT_IN_USE"}, None, Step("failed", "PORT_IN_USE")),
        ({"status": "stopped"}, None, Step("failed", "stopped")),
        ({"desired": "stopped"}, None, Step("stop", "requested")),
        ({"desired": "stopped"}, worker(due_in=7), Step("stop", "requested; waiting for its next heartbeat, in 7 s")),
        ({"desired": "stopped", "status": "stopped"}, None, Step("stop", "stopped")),
    ],
)
def test_a_step_says_where_it_is(changes: dict[str, object], on: r.Worker | None, step: Step) -> None:
    assert step_of(deployment(**changes), on, LATER) == step


def test_a_line_is_written_at_each_change_and_at_each_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Lines(Shell())
    for step in (
        Step("preflight", "waits, in 30 s"),
        Step("preflight", "waits, in 29 s"),
        *(Step("pull", f"downloading {share} %", share / 100) for share in (1, 5, 9, 10, 19, 20)),
        Step("weights", "\x1b[31mloading"),
    ):
        shown.update(step)
    assert capsys.readouterr().err.splitlines() == [
        "preflight: waits, in 30 s",
        "pull:      downloading 1 %",
        "pull:      downloading 10 %",
        "pull:      downloading 20 %",
        "weights:   loading",
    ]


def crashed(restarts: int, code: str = "CONTAINER_FAILED", **changes: object) -> r.Deployment:
    """As it is after so many starts that failed."""
    message = f"It ended with exit code 1 (starts again in {10 * restarts} s)"
    crash = {"at": NOW, "error_code": code, "message": message, "logs": ""}
    return deployment(
        **{"status": "starting", "restarts": restarts, "message": message, "last_crash": crash, **changes}
    )


def test_a_line_is_written_at_each_retry(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Lines(Shell())
    loading: dict[str, Any] = {"progress": {"phase": "loading", "current": 1, "total": 4}}
    pulling = {"status": "downloading", "restarts": 0}
    refused = "REGISTRY_UNREACHABLE: connection refused (attempt {} of 3 in 5 s)"
    for seen in (
        deployment(**pulling, message=refused.format(2), progress={"phase": "retrying"}),
        deployment(**pulling, message=refused.format(2), progress={"phase": "retrying"}),
        deployment(**pulling, message=refused.format(3), progress={"phase": "retrying"}),
        deployment(status="starting", message="Starting"),
        crashed(1),
        crashed(1),
        crashed(1, **loading),
        crashed(2, **loading),
        crashed(3),
    ):
        shown.update(step_of(seen, None, LATER))
    assert capsys.readouterr().err.splitlines() == [
        "pull:      retrying: REGISTRY_UNREACHABLE: connection refused (attempt 2 of 3 in 5 s)",
        "pull:      retrying: REGISTRY_UNREACHABLE: connection refused (attempt 3 of 3 in 5 s)",
        "weights:   Starting",
        "weights:   It ended with exit code 1 (starts again in 10 s)",
        "weights:   loading 1 of 4, 25 %",
        "retry:     CONTAINER_FAILED: It ended with exit code 1 (starts again in 20 s), restart 2",
        "weights:   loading 1 of 4, 25 %",
        "weights:   It ended with exit code 1 (starts again in 30 s)",
    ]


def test_restarts_from_before_are_no_retry(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Lines(Shell())
    for seen in (crashed(3, message="Starting"), deployment(status="starting", message="Starting"), crashed(1)):
        shown.update(step_of(seen, None, LATER))
    assert capsys.readouterr().err.splitlines() == [
        "weights:   Starting",
        "weights:   It ended with exit code 1 (starts again in 10 s)",
    ]


def looping(restarts: int, next_start_in: int | None, **changes: object) -> r.Deployment:
    loop = m.CrashLoop("CUDA_OUT_OF_MEMORY", restarts, next_start_in)
    return crashed(restarts, "CUDA_OUT_OF_MEMORY", crash_loop=loop, **changes)


def test_a_crash_loop_is_named_at_each_failure_and_not_at_each_second(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Lines(Shell())
    loading: dict[str, Any] = {"progress": {"phase": "loading"}}
    for seen in (
        crashed(1),
        looping(2, 20),
        looping(2, 19),
        looping(2, 0),
        looping(2, None, **loading),
        looping(3, 40),
        looping(10, 600),
        looping(10, 599),
    ):
        shown.update(step_of(seen, None, LATER))
    assert capsys.readouterr().err.splitlines() == [
        "weights:   It ended with exit code 1 (starts again in 10 s)",
        "retry:     CUDA_OUT_OF_MEMORY: It ended with exit code 1 (starts again in 20 s), restart 2",
        "weights:   crash loop: CUDA_OUT_OF_MEMORY, next start in 20 s",
        "weights:   loading",
        "retry:     CUDA_OUT_OF_MEMORY: It ended with exit code 1 (starts again in 30 s), restart 3",
        "weights:   crash loop: CUDA_OUT_OF_MEMORY, next start in 40 s",
        "retry:     CUDA_OUT_OF_MEMORY: It ended with exit code 1 (starts again in 100 s), restart 10",
        "weights:   crash loop: CUDA_OUT_OF_MEMORY, next start in 10 min; the same cause 10 times",
        "loop:      The cause persists, so each wait is longer, up to 30 min: `muster restart m` starts it at once",
    ]


def test_a_bar_counts_down_to_the_next_start() -> None:
    bars = Progress()
    shown = Bars(bars)
    for left in (20, 19):
        shown.update(step_of(looping(2, left), None, LATER))
    assert bars.tasks[0].fields["words"] == "crash loop: CUDA_OUT_OF_MEMORY, next start in 19 s"


@pytest.mark.parametrize(
    "display", [Lines(Shell()), Bars(Progress(console=Shell().err.console))], ids=["lines", "bars"]
)
def test_the_command_of_a_proposed_fix_is_written_once(
    display: Lines | Bars, capsys: pytest.CaptureFixture[str]
) -> None:
    crash = {"at": NOW, "error_code": "X", "message": "m", "logs": "", "fix": {"config": {"max_num_seqs": 614}}}
    for restarts in (1, 2, 2):
        display.update(step_of(crashed(restarts, last_crash=crash), None, LATER))
    assert capsys.readouterr().err.count("fix:       muster set m max_num_seqs=614\n") == 1


def test_a_retry_is_written_above_the_bars(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Bars(Progress(console=Shell().err.console))
    retrying = {"status": "downloading", "message": "PULL_STALLED: why", "progress": {"phase": "retrying"}}
    for seen in (deployment(**retrying), deployment(**retrying), crashed(1)):
        shown.update(step_of(seen, None, LATER))
    said = capsys.readouterr().err
    assert said.count("retry:     retrying: PULL_STALLED: why\n") == 1
    assert "retry:     CONTAINER_FAILED: It ended with exit code 1 (starts again in 10 s), restart 1\n" in said


def test_a_line_is_written_when_a_condition_holds_it_up_and_when_none_does_any_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = Lines(Shell())
    down = condition(type="EngineUnavailable", message="Docker does not answer, tried 1 time\x1b[2J")
    again = condition(type="EngineUnavailable", message="Docker does not answer, tried 2 times")
    for conditions in ([], [down], [again], [again, condition()], []):
        shown.update(step_of(deployment(status="starting", conditions=conditions), None, LATER))
    assert capsys.readouterr().err.splitlines() == [
        "weights:   starting",
        "held up:   EngineUnavailable: Docker does not answer, tried 1 time\\x1b[2J",
        "held up:   EngineUnavailable: Docker does not answer, tried 2 times; GpuLost: GPU 1 fell off the bus",
        "held up:   no longer",
    ]


def test_a_bar_names_what_holds_it_up() -> None:
    bars = Progress()
    Bars(bars).update(step_of(deployment(status="starting", conditions=[condition()]), None, LATER))
    assert bars.tasks[0].fields["words"] == "starting; held up by GpuLost: GPU 1 fell off the bus"


def test_waiting_names_the_condition_that_holds_the_model_up(operators: Operators) -> None:
    operators.away = True
    operators.report("EngineUnavailable", "Docker does not answer")
    said = operators.out("deploy org/model --name m --gpus 0 --timeout 5s", 6)
    assert said.count("held up:   EngineUnavailable: Docker does not answer\n") == 1


def test_each_stage_has_a_bar() -> None:
    bars = Progress()
    shown = Bars(bars)
    shown.update(Step("preflight", "placed"))
    shown.update(Step("weights", "\x1b[31mdownloading", 0.25))
    assert [(task.description, task.completed, task.total, task.fields["words"]) for task in bars.tasks] == [
        ("preflight", 1, 1, ""),
        ("weights", 0.25, 1, "downloading"),
    ]
