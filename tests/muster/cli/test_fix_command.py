"""The command that applies what a crash report proposes, as it is and as the command line reads it."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from muster.api import messages as m
from muster.api import resources as r
from muster.cli import pairs
from muster.cli.fix_command import command, proposed
from tests.fixtures.operators import Operators
from tests.fixtures.resources import NOW, deployment

P2P = {"NCCL_P2P_DISABLE": "1"}


def crashed(fix: dict[str, Any] | None, **changes: object) -> r.Deployment:
    crash = {"at": NOW, "error_code": "X", "message": "why", "logs": "", "fix": fix}
    return deployment(status="error", name="qwen", last_crash=crash, **changes)


@pytest.mark.parametrize(
    ("fix", "said"),
    [
        (m.Fix({"max_num_seqs": 614}), "muster set qwen max_num_seqs=614"),
        (m.Fix({"b": 0.83, "a": True}), "muster set qwen a=true b=0.83"),
        (m.Fix({"dtype": "half"}), "muster set qwen dtype=half"),
        (m.Fix({"dtype": "16"}), """muster set qwen 'dtype="16"'"""),
        (m.Fix(gpus=4), "muster set qwen --gpus 4"),
        (m.Fix(env=P2P), "muster set qwen --env NCCL_P2P_DISABLE=1"),
        (
            m.Fix({"tensor_parallel_size": 2}, 2, P2P),
            "muster set qwen tensor_parallel_size=2 --gpus 2 --env NCCL_P2P_DISABLE=1",
        ),
    ],
)
def test_a_fix_is_one_command(fix: m.Fix, said: str) -> None:
    assert command(fix, "qwen") == said
    given = [each for each in shlex.split(said)[3:] if each.partition("=")[0] in fix.config]
    assert pairs.config(given) == fix.config, "it is read as it was meant"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "muster set qwen --env NCCL_P2P_DISABLE=1"),
        ({"env": ["HF_TOKEN"]}, "muster set qwen --env NCCL_P2P_DISABLE=1 --keep-env"),
        ({"env": ["NCCL_P2P_DISABLE"]}, None),
        ({"desired": "stopped"}, "muster set qwen --env NCCL_P2P_DISABLE=1 && muster start qwen"),
    ],
)
def test_variables_are_added_to_those_that_there_are(changes: dict[str, object], said: str | None) -> None:
    assert proposed(crashed({"env": P2P}, **changes)) == said


def test_nothing_is_proposed_where_nothing_is_or_where_it_is_applied() -> None:
    assert proposed(deployment()) is None
    assert proposed(crashed(None)) is None
    assert proposed(crashed({"config": {"seed": 1}}, config={"seed": 1})) is None
    assert proposed(crashed({"config": {"seed": 1}}, config={"seed": 2})) == "muster set qwen seed=1"
    assert proposed(crashed({"gpus": 2}, gpus=[0, 3])) is None
    assert proposed(crashed({"gpus": 2}, gpus=1)) == "muster set qwen --gpus 2"


def test_the_command_that_is_said_applies_the_fix_and_keeps_the_variables(operators: Operators) -> None:
    operators.out("deploy org/model --name qwen --gpus 0 --env HF_TOKEN=t --wait")
    said = command(m.Fix({"seed": 3}, None, P2P), "qwen", keep_env=True)
    operators.out(said.removeprefix("muster "))
    seen = operators.json("show qwen", r.Deployment)
    assert (seen.env, seen.config) == (["HF_TOKEN", "NCCL_P2P_DISABLE"], {"seed": 3})
    operators.beat()
    operators.settle()
    ordered = operators.runner(seen.deployment_id).record.command
    assert isinstance(ordered, m.Deploy)
    assert {name: ordered.env.get(name) for name in ("HF_TOKEN", "NCCL_P2P_DISABLE")} == {"HF_TOKEN": "t", **P2P}
