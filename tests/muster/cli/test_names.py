"""Which one is meant: by name, by id, or by the beginning of an id."""

from __future__ import annotations

import pytest

from muster.api import resources as r
from muster.cli import names
from muster.cli.shell import Stop
from tests.fixtures.operators import Operators

MODEL = "deploy org/model --name m --gpus 0 --wait"


def test_a_name_comes_before_the_beginning_of_an_id(operators: Operators) -> None:
    operators.out(MODEL)
    id_ = next(operators.client().deployments()).deployment_id
    for ref in (id_, id_[:4], id_[:8], "m"):
        assert operators.json(f"show {ref}", r.Deployment).deployment_id == id_
    operators.out(f"deploy org/model --gpus 0 --name {id_[:5]}")
    assert operators.json(f"show {id_[:5]}", r.Deployment).name == id_[:5]
    assert operators.out(f"show {id_[:3]}", 3) == f"Error: there is no deployment '{id_[:3]}'; muster ps lists them\n"


def test_a_name_that_several_have_lists_them(operators: Operators) -> None:
    for _ in range(2):
        operators.out("tokens create --name rack")
    said = operators.out("tokens revoke rack", 2).splitlines()
    assert said[0] == "Error: 'rack' may be any of 2; give more of the id:"
    assert [each.split()[1] for each in said[1:]] == ["rack", "rack"]
    assert operators.out(f"tokens revoke {said[1].split()[0]}") == "Token rack is revoked\n"


def test_fewer_than_four_characters_are_no_id(operators: Operators) -> None:
    client = operators.client()
    worker = next(client.workers())
    assert names.worker(client, worker.worker_id[:4]) == worker
    with pytest.raises(Stop, match="there is no worker"):
        names.worker(client, worker.worker_id[:3])


def test_a_deployment_whose_worker_is_gone_or_not_chosen_has_none(operators: Operators) -> None:
    operators.out(MODEL)
    client = operators.client()
    found = next(client.deployments())
    worker = names.worker_of(client, found)
    assert worker is not None and names.of_workers(client) == {worker.worker_id: "gpu-1"}
    operators.out("workers remove gpu-1 --force --yes")
    assert names.worker_of(client, found) is None
    found.worker_id = None
    assert names.worker_of(client, found) is None
