"""What a command that looks again and again has seen is what is there, whatever the control plane's release."""

from __future__ import annotations

from typing import Any

import pytest

from muster import Client, NewDeployment, NotFound
from muster.cli.fleet_view import FleetView, Seen, listed
from tests.fixtures.operators import Operators


def shown(seen: Seen) -> Any:
    workers = [(worker.worker_id, worker.name, worker.status, worker.gpu_claims) for worker in seen.workers]
    return workers, [(made.deployment_id, made.status, made.desired) for made in seen.deployments]


def test_each_look_is_the_lists(operators: Operators) -> None:
    client = operators.client()
    view = FleetView(client)
    assert shown(view.look()) == shown(listed(client))
    made = client.deploy(NewDeployment(model="org/model", gpus=0, name="m"))
    *_, running = client.watch_deployment(made.deployment_id, timeout=60)
    assert shown(view.look()) == shown(listed(client)) and view.look().deployments[0].status is running.status
    client.stop(made.deployment_id)
    *_, stopped = client.watch_deployment(made.deployment_id, timeout=60)
    assert view.look().deployments[0].status is stopped.status
    client.delete(made.deployment_id)
    assert shown(view.look()) == shown(listed(client)) and view.look().deployments == []


def test_after_the_first_look_only_changes_are_asked_for(operators: Operators, monkeypatch: pytest.MonkeyPatch) -> None:
    client, answers = operators.client(), []
    whole = Client.fleet

    def fleet(self: Client, since: str | None = None, **given: Any) -> Any:
        answers.append(whole(self, since, **given))
        return answers[-1]

    monkeypatch.setattr(Client, "fleet", fleet)
    view = FleetView(client)
    for _ in range(3):
        assert len(view.look().workers) == 1
    assert [(answer.full, len(answer.workers)) for answer in answers] == [(True, 1), (False, 0), (False, 0)]


def test_a_control_plane_without_the_route_is_asked_for_its_lists(
    operators: Operators, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise NotFound("ROUTE_NOT_FOUND", "there is no such route", 404)

    monkeypatch.setattr(Client, "fleet", missing)
    client = operators.client()
    assert shown(FleetView(client).look()) == shown(listed(client))
