"""A registration takes what it needs from body and header."""

from __future__ import annotations

import pytest

from chalicelib.routes import register as routes
from muster.api.errors import ApiError
from tests.fixtures.plane_world import PlaneWorld
from tests.fixtures.route_calls import call


def test_a_registration_takes_the_workers_own_token_from_its_header(world: PlaneWorld) -> None:
    worker = world.worker()
    body = {"name": "gpu-1", "token": "unknown", "gpu_info": {"count": 0}, "system_info": {"hostname": "renamed"}}
    with pytest.raises(ApiError):
        routes.register(call("register", world.now, body=body))
    again = routes.register(call("register", world.now, bearer=worker.token, body=body))
    assert again.worker_id == worker.id
