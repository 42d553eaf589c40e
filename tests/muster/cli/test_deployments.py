"""muster show, stop, start, restart, set, rm: the models that there are, and what is done with them."""

from __future__ import annotations

import re

import pytest

from muster.api import messages as m
from muster.api import resources as r
from muster.api.lifecycle import Status
from tests.fixtures.operators import Operators
from tests.fixtures.tables import columns


def loop(times: int, next_start_in: int | None = None) -> m.CrashLoop:
    return m.CrashLoop("CUDA_OUT_OF_MEMORY", times, next_start_in)


MODEL = "deploy org/model --name m --gpus 0 --wait"


def test_show_names_what_is_set_and_leaves_out_what_is_not(operators: Operators) -> None:
    operators.out("deploy org/model --name m --gpus 0 --set max_model_len=4096 --env A=b --selector zone=a")
    facts = dict(re.split(r"  +", line, maxsplit=1) for line in operators.out("show m").splitlines())
    assert (facts["flags"], facts["env"], facts["selector"]) == ("max_model_len=4096", "A", "zone=a")
    assert (facts["status"], facts["age"], facts["restart"]) == ("pending: no place", "0s", "on-failure")
    assert not {"worker", "endpoint", "api key", "image"} & facts.keys()


def test_show_lists_what_holds_the_model_up(operators: Operators) -> None:
    operators.out(MODEL)
    assert "CONDITION" not in operators.out("show m")
    operators.report("EngineUnavailable", "Docker does not answer")
    operators.report("GpuLost", "GPU 1 fell off the bus", gpus=[1])
    operators.clock.pass_time(90)
    shown = operators.out("show m")
    assert re.search(r"^EngineUnavailable +1m +Docker does not answer$", shown, re.MULTILINE)
    assert "GpuLost" not in shown, "it has no GPU"
    assert [each.type for each in operators.json("show m", r.Deployment).conditions] == ["EngineUnavailable"]
    assert (
        "running" in columns(operators.out("ps"))[1][1] and "(EngineUnavailable)" in columns(operators.out("ps"))[1][1]
    )


def test_show_takes_the_name_of_a_worker_where_no_model_has_it(operators: Operators) -> None:
    assert operators.out("show gpu-1") == operators.out("workers show gpu-1")
    operators.out("deploy org/model --name gpu-1 --gpus 0 --wait")
    assert re.search(r"^model +org/model$", operators.out("show gpu-1"), re.MULTILINE)
    assert operators.out("show nothing", 3) == "Error: there is no deployment 'nothing'; muster ps lists them\n"


def test_a_model_is_stopped_started_replaced_and_forgotten(operators: Operators) -> None:
    operators.out("deploy org/model --name m --gpus 0 --wait")
    assert "Error: m is running: muster rm m --stop stops it first" in operators.out("rm m", 5)
    assert operators.out("stop m --wait").splitlines()[-1] == "m is stopped on gpu-1"
    assert operators.out("start m --wait").splitlines()[-1].startswith("m runs on gpu-1")
    before = operators.engine.only().id
    assert operators.out("restart m --wait").splitlines()[-1].startswith("m runs on gpu-1")
    assert operators.engine.only().id != before
    assert operators.out("rm m --stop --yes").splitlines()[-1] == "m is deleted"
    assert operators.out("ps") == "No deployments: muster deploy MODEL\n"


@pytest.mark.parametrize("options", ["", " --stop --yes"])
def test_a_model_of_a_worker_that_is_away_is_forgotten_when_the_worker_is_declared_lost(
    operators: Operators, options: str
) -> None:
    operators.out("deploy org/model --name m --gpus 0 --wait")
    operators.clock.pass_time(725)
    said = operators.out(f"rm m{options}", 5)
    assert "m is running, and its worker gpu-1 is offline, so nothing can confirm the stop." in said
    assert "muster workers lost gpu-1, then muster rm m" in said
    operators.out("workers lost gpu-1 --yes")
    assert operators.out("rm m").splitlines()[-1] == "m is deleted"


def test_set_changes_what_is_named_and_keeps_the_rest(operators: Operators) -> None:
    operators.out("deploy org/model --name m --gpus 0 --set max_model_len=4096 --set enforce_eager=true --env A=b")
    changed = operators.json("set m --wait max-model-len=2048 enforce_eager- seed=7", r.Deployment)
    assert changed.config == {"max_model_len": 2048, "seed": 7}
    assert changed.env == ["A"] and changed.status is Status.RUNNING
    refused = operators.out("set m --env C=d", 2)
    assert "m also has A, which cannot be read back: give it again, or --keep-env, or --replace-env" in refused
    assert operators.json("set m --env C=d --keep-env", r.Deployment).env == ["A", "C"]
    assert "--keep-env requires --env" in operators.out("set m --keep-env", 2)
    assert "--keep-env requires --env" in operators.out("set m --env E=f --keep-env --replace-env", 2)
    assert operators.json("set m --env C=d --replace-env", r.Deployment).env == ["C"]
    assert "nothing to change" in operators.out("set m", 2)


def test_a_model_has_an_endpoint_where_its_worker_has_an_address(operators: Operators) -> None:
    operators.out("deploy org/model --name m --gpus 0 --wait")
    assert "local only: no address" in operators.out("ps")
    operators.out("workers label gpu-1 --address 10.0.0.7")
    assert re.search(r" http://10\.0\.0\.7:20000 ", operators.out("ps"))
    assert re.search(r"^api key +\S{20,}$", operators.out("show m"), re.MULTILINE)


# Crash loops


OOM = "torch.OutOfMemoryError: CUDA out of memory."


def crash_again(operators: Operators, times: int) -> None:
    """The model `m` as it is right after so many crashes in a row."""
    for number in range(times):
        while not any(each.state == "running" for each in operators.engine.all.values()):
            operators.settle(1, seconds=5)
        operators.settle(2)
        operators.engine.die(operators.engine.only().id, 1, f"{OOM} Crash {number}")
        operators.settle(1)
    operators.beat(0)


def test_ps_and_show_name_a_crash_loop_and_count_down(operators: Operators) -> None:
    operators.out(MODEL)
    crash_again(operators, 1)
    assert "crash loop" not in operators.out("ps")
    crash_again(operators, 2)
    status = columns(operators.out("ps"))[1][1]
    assert status == "crash loop: CUDA_OUT_OF_MEMORY, next start in 40 s (restarts: 3)"
    operators.clock.pass_time(15)
    assert "next start in 25 s" in columns(operators.out("ps"))[1][1]
    assert "crash loop: CUDA_OUT_OF_MEMORY, next start in 25 s" in operators.out("show m")
    assert operators.json("show m", r.Deployment).crash_loop == m.CrashLoop("CUDA_OUT_OF_MEMORY", 3, 25)
    assert "crash loop: CUDA_OUT_OF_MEMORY, next start in 40 s: " in operators.out("events m")


def test_a_loop_that_does_not_heal_says_so_and_a_restart_starts_it_at_once(operators: Operators) -> None:
    operators.out(MODEL)
    crash_again(operators, 10)
    status = columns(operators.out("ps"))[1][1]
    assert status.startswith("crash loop: CUDA_OUT_OF_MEMORY, next start in 10 min; the same cause 10 times")
    shown = operators.out("show m")
    assert "`muster restart m` starts it at once." in shown
    since = operators.clock.now
    assert "m runs on gpu-1" in operators.out("restart m --wait")
    assert operators.clock.now - since < 60
    assert columns(operators.out("ps"))[1][1] == "running"


def test_show_gives_the_command_that_applies_the_proposed_fix(operators: Operators) -> None:
    operators.out("deploy org/model --name m --gpus 0 --env HF_TOKEN=t --wait")
    log = "ValueError: the model's max seq len (40960) is larger than the maximum number of tokens that can be stored"
    operators.engine.die(
        operators.engine.only().id, 1, f"{log} in KV cache. The estimated maximum model length is 34736."
    )
    operators.settle(1)
    shown = operators.out("show m")
    assert "The proposed fix: muster set m max_model_len=" in shown
