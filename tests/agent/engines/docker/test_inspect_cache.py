"""When a container is asked for by itself: the less, the cheaper an idle agent."""

from __future__ import annotations

from typing import Any

from muster_agent.engines.base import Instance
from muster_agent.engines.docker.inspect_cache import MAX_INSPECTION_AGE_SECONDS, InspectCache


class Docker:
    """Answers from `there`, and counts."""

    def __init__(self) -> None:
        self.there: dict[str, str] = {}
        self.asked = 0
        self.looks = InspectCache()

    def look(self, now: float, gone: str = "") -> list[str]:
        listed = [{"Id": each, "State": state, "Names": [f"/{each}"]} for each, state in self.there.items()]

        def inspect(container: dict[str, Any]) -> Instance | None:
            self.asked += 1
            state = "running" if container["State"] == "running" else "exited"
            known: Any = {"id": container["Id"], "name": container["Id"], "image": "i", "state": state, "created": 0.0}
            return None if container["Id"] == gone else Instance(**known)

        return [f"{each.id} {each.state}" for each in self.looks.take(listed, inspect, now)]


def test_what_runs_is_asked_for_once_and_again_when_that_is_old() -> None:
    docker = Docker()
    docker.there = {"a": "running", "b": "running"}
    for now in (0.0, 2.0, MAX_INSPECTION_AGE_SECONDS - 0.1):
        assert docker.look(now) == ["a running", "b running"]
    assert docker.asked == 2
    docker.look(MAX_INSPECTION_AGE_SECONDS)
    assert docker.asked == 4


def test_an_end_is_seen_at_once_and_a_corpse_asked_for_each_time() -> None:
    docker = Docker()
    docker.there = {"a": "running"}
    docker.look(0.0)
    docker.there = {"a": "exited"}
    assert docker.look(1.0) == ["a exited"]
    docker.look(2.0)
    assert docker.asked == 3


def test_what_went_meanwhile_is_not_there_and_not_remembered() -> None:
    docker = Docker()
    docker.there = {"a": "running"}
    assert docker.look(0.0, gone="a") == []
    docker.there = {}
    assert docker.look(1.0) == []
    docker.there = {"a": "running"}
    assert docker.look(2.0) == ["a running"]
