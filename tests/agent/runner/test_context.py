"""What the parts of an agent share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from muster_agent.engines.base import Instance
from tests.fixtures.agent_world import AgentWorld


@pytest.mark.parametrize(("worker_id", "is_own"), [("w1", True), ("w0", True), ("w2", False)])
def test_an_instance_is_of_the_worker_or_of_one_that_it_was_before(
    world: AgentWorld, worker_id: str, is_own: bool
) -> None:
    context = replace(world.runtime.context, past_workers=["w0"])
    assert context.is_own(Instance("i1", "n1", "i", "running", worker_id, "d1", 1)) is is_own


def test_the_variables_of_the_host_are_in_no_text_about_it(world: AgentWorld) -> None:
    assert "from-the-host" not in repr(world.host)
