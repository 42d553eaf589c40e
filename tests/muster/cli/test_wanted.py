"""How a model should be, as options: what each is turned into, and what is refused."""

from __future__ import annotations

from typing import Any

import click
import pytest

from muster.api import messages as m
from muster.api import resources as r
from muster.cli import wanted
from muster.cli.shell import USAGE, Stop
from tests.fixtures.resources import deployment


@pytest.mark.parametrize(("given", "meant"), [("2", 2), ("0", 0), ("0,1", [0, 1]), ("3,", [3]), ("12,3", [12, 3])])
def test_gpus_are_a_number_or_indexes(given: str, meant: r.GpuRequest) -> None:
    assert wanted.gpus(given) == meant


@pytest.mark.parametrize("given", ["many", "", "-1", "1,,2", ",1", "100"])
def test_what_is_no_number_and_no_list_of_gpus_is_refused(given: str) -> None:
    with pytest.raises(click.BadParameter, match="expected a count"):
        wanted.gpus(given)


@pytest.mark.parametrize(("given", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("3d", 259200)])
def test_a_duration_is_in_seconds(given: str, seconds: int) -> None:
    assert wanted.duration(given) == seconds


@pytest.mark.parametrize("given", ["soon", "", "0", "-5s", "5w"])
def test_what_is_no_duration_is_refused(given: str) -> None:
    with pytest.raises(click.BadParameter, match="expected a duration such as 90s, 10m, 2h or 3d"):
        wanted.duration(given)


def test_a_variable_has_the_given_value_or_the_one_here_or_the_hosts() -> None:
    made = wanted.environment(("A=b=c", "HERE", "EMPTY="), ("SECRET",), {"HERE": "x"})
    assert made == {"A": "b=c", "HERE": "x", "EMPTY": "", "SECRET": m.FromHost(True)}


def test_a_variable_that_is_not_set_here_is_refused() -> None:
    with pytest.raises(Stop, match="--env GONE: not set in this shell") as stop:
        wanted.environment(("GONE",), (), {})
    assert stop.value.exit_code == USAGE


FOUND = deployment(config={"seed": 1, "enforce_eager": True}, env=["HF_TOKEN", "VLLM_API_KEY"])


@pytest.mark.parametrize(
    ("changes", "made"),
    [
        ({"flags": ("seed=2", "max_model_len=64", "enforce_eager-")}, {"config": {"seed": 2, "max_model_len": 64}}),
        ({"gpus": [0, 1]}, {"gpus": [0, 1]}),
        ({"gpus": 0}, {"gpus": 0}),
        ({"image": "a:1"}, {"image": "a:1"}),
        ({"image": ""}, {"image": None}),
        ({"env": ("A=b", "HF_TOKEN")}, {"env": {"A": "b", "HF_TOKEN": "here"}}),
        ({"env": ("A=b",), "keep_env": True}, {"add_env": {"A": "b"}}),
        ({"env": ("A=b",), "replace_env": True}, {"env": {"A": "b"}}),
        ({"replace_env": True}, {"env": {}}),
    ],
)
def test_a_patch_has_what_is_given_and_nothing_else(changes: dict[str, Any], made: dict[str, Any]) -> None:
    patch = wanted.patch(wanted.Changes(**changes), FOUND, None, {"HF_TOKEN": "here"})
    assert patch == r.DeploymentPatch(**made)


def test_a_patch_names_the_worker_by_its_id() -> None:
    assert wanted.patch(wanted.Changes(worker="gpu-2"), FOUND, "w2", {}) == r.DeploymentPatch(worker_id="w2")


def test_a_variable_whose_value_nobody_can_read_is_not_lost_unsaid() -> None:
    with pytest.raises(Stop, match="also has HF_TOKEN, which cannot be read back"):
        wanted.patch(wanted.Changes(env=("A=b",)), FOUND, None, {})


@pytest.mark.parametrize("changes", [{}, {"keep_env": True}, {"env": ("A=b",), "keep_env": True, "replace_env": True}])
def test_changes_that_change_nothing_or_contradict_are_a_usage_error(changes: dict[str, Any]) -> None:
    with pytest.raises(click.UsageError):
        wanted.patch(wanted.Changes(**changes), FOUND, None, {})
