"""muster ps, show, stop, start, restart, set, rm: the models that there are, and what is done with them."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from chalicelib.contract import resources as r
from chalicelib.contract.lifecycle import Status
from muster.cli.deployments import endpoint_of, gpus_of, status_of
from tests.fixtures.operators import Operators
from tests.fixtures.resources import NOW, condition, deployment
from tests.fixtures.tables import columns

MODEL = "deploy org/model --name m --gpus 0 --wait"


def test_ps_lists_the_models_and_where_they_are_reached(operators: Operators) -> None:
    operators.out(MODEL)
    operators.clock.pass_time(60)
    head, row = columns(operators.out("ps"))
    assert head == ["NAME", "STATUS", "MODEL", "WORKER", "GPUS", "ENDPOINT", "AGE", "ID"]
    assert row[:7] == ["m", "running", "org/model", "gpu-1", "none", "local only: no address", "1m"]
    assert operators.out("ps --status error") == "No models yet: muster deploy MODEL\n"
    assert len(columns(operators.out("ps --on gpu-1"))) == 2


def test_a_model_that_cannot_be_reached_is_shown_with_its_age(operators: Operators) -> None:
    operators.out(MODEL)
    operators.clock.pass_time(725)
    assert columns(operators.out("ps"))[1][1] == "running (unreachable 12m)"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "running"),
        ({"restarts": 2}, "running (restarts: 2)"),
        ({"desired": "stopped"}, "stopping"),
        ({"desired": "stopped", "status": "stopped"}, "stopped"),
        ({"status": "error", "error_code": "PORT_IN_USE", "reachable": False}, "error: PORT_IN_USE"),
        ({"status": "pending", "worker_id": None}, "pending: no place"),
        ({"status": "pending"}, "pending"),
        ({"status": "starting", "progress": {"phase": "compiling"}}, "starting: compiling"),
        ({"reachable": False}, "running (unreachable 12m)"),
        ({"conditions": [condition(), condition(type="New")]}, "running (GpuLost, New)"),
        ({"status": "error", "error_code": "X", "conditions": [condition()]}, "error: X"),
        ({"reachable": False, "restarts": 1}, "running (unreachable 12m) (restarts: 1)"),
    ],
)
def test_a_state_is_shown_in_words(changes: dict[str, object], words: str) -> None:
    assert status_of(deployment(**changes), NOW + timedelta(minutes=12)) == words


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"gpu_indexes": [0, 2]}, "0,2"),
        ({"gpu_indexes": [], "gpus": 2}, "2 wanted"),
        ({"gpu_indexes": [], "gpus": [3]}, "[3] wanted"),
        ({"gpu_indexes": [], "gpus": 0}, "none"),
    ],
)
def test_the_gpus_are_those_it_has_else_those_it_wants(changes: dict[str, object], shown: str) -> None:
    assert gpus_of(deployment(**changes)) == shown


def test_only_a_running_model_has_an_endpoint() -> None:
    assert endpoint_of(deployment()) == "http://10.0.0.7:20000"
    assert endpoint_of(deployment(endpoint=None)) == "local only: no address"
    assert endpoint_of(deployment(status="starting", endpoint=None)) is None


def test_an_instance_that_serves_while_a_change_is_prepared_has_an_endpoint() -> None:
    older = deployment(status="downloading", generation=2, serving_generation=1, serving_worker_id="w1")
    assert endpoint_of(older) == "http://10.0.0.7:20000"
    hidden = deployment(endpoint=None, endpoint_problem="worker b holds it")
    assert endpoint_of(hidden) == "none: muster show says why"


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
    assert operators.out("rm m --stop --yes").splitlines()[-1] == "m is forgotten"
    assert operators.out("ps") == "No models yet: muster deploy MODEL\n"


def test_set_changes_what_is_named_and_keeps_the_rest(operators: Operators) -> None:
    operators.out("deploy org/model --name m --gpus 0 --set max_model_len=4096 --set enforce_eager=true --env A=b")
    changed = operators.json("set m --wait max-model-len=2048 enforce_eager- seed=7", r.Deployment)
    assert changed.config == {"max_model_len": 2048, "seed": 7}
    assert changed.env == ["A"] and changed.status is Status.RUNNING
    refused = operators.out("set m --env C=d", 2)
    assert "m also has A, whose value nobody can read: give it again, or --replace-env" in refused
    assert operators.json("set m --env C=d --replace-env", r.Deployment).env == ["C"]
    assert "name something to change" in operators.out("set m", 2)


def test_a_model_has_an_endpoint_where_its_worker_has_an_address(operators: Operators) -> None:
    operators.out("deploy org/model --name m --gpus 0 --wait")
    assert "local only: no address" in operators.out("ps")
    operators.out("workers label gpu-1 --address 10.0.0.7")
    assert re.search(r" http://10\.0\.0\.7:20000 ", operators.out("ps"))
    assert re.search(r"^api key +\S{20,}$", operators.out("show m"), re.MULTILINE)
