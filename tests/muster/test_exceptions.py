"""Errors: each status of HTTP is a kind of exception, and an exception has the code and the message of the answer."""

from __future__ import annotations

import pytest

from muster import (
    AuthError,
    Conflict,
    Invalid,
    MusterError,
    NewDeployment,
    NotFound,
    TimedOut,
    Unreachable,
    WorkerFailed,
)
from muster.api.errors import STATUS
from muster.exceptions import error
from muster_agent.engines.base import Instance
from tests.fixtures.operators import Operators

MODEL = NewDeployment(model="org/model", gpus=0, name="m")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, AuthError),
        (403, AuthError),
        (404, NotFound),
        (409, Conflict),
        (410, Conflict),
        (413, Invalid),
        (429, Unreachable),
        (500, MusterError),
        (502, WorkerFailed),
        (503, Unreachable),
        (504, Unreachable),
    ],
)
def test_the_status_decides_the_kind(status: int, kind: type[MusterError]) -> None:
    made = error("SOME_CODE", "what failed", status)
    assert (type(made), made.error_code, made.message, made.status) == (kind, "SOME_CODE", "what failed", status)
    assert str(made) == "SOME_CODE: what failed"


@pytest.mark.parametrize("code", STATUS)
def test_without_a_status_a_code_has_the_one_of_the_contract(code: str) -> None:
    assert error(code, "").status == STATUS[code]


def test_a_code_that_is_not_in_the_contract_is_the_workers() -> None:
    assert type(error("CUDA_OUT_OF_MEMORY", "")) is WorkerFailed


def test_a_timeout_names_the_operation_and_is_a_kind_of_unreachable() -> None:
    made = TimedOut("not done", "op-1")
    assert isinstance(made, Unreachable) and (made.operation_id, made.status) == ("op-1", None)


def test_a_refusal_of_the_control_plane_or_of_a_worker_is_raised_as_its_kind(operators: Operators) -> None:
    client = operators.client()
    worker = next(client.workers())
    client.deploy(MODEL)
    with pytest.raises(Conflict) as conflict:
        client.deploy(MODEL)
    assert (conflict.value.error_code, conflict.value.status) == ("DEPLOYMENT_NAME_IN_USE", 409)
    with pytest.raises(NotFound, match="there is no such deployment"):
        client.deployment("no such")
    with pytest.raises(AuthError, match="UNAUTHENTICATED"):
        list(operators.client("mst_key_wrong").workers())
    with pytest.raises(Invalid, match="gpus"):
        client.deploy(NewDeployment(model="m", gpus=-1))
    with pytest.raises(NotFound, match="IMAGE_NOT_FOUND"):
        client.pull_image(worker.worker_id, "vllm/vllm-openai:nothing", watch=lambda _: None)
    engine = operators.engine
    engine.add(Instance(id="foreign", name="foreign", image="x", state="running"))
    with pytest.raises(WorkerFailed, match="NOT_OURS"):
        client.stop_container(worker.worker_id, "foreign", watch=lambda _: None)
