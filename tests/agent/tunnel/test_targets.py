"""The models that gateways may be sent to, from what the runner knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from muster.api.lifecycle import Status
from muster.api.messages import Deploy, FromHost, Stop
from muster_agent.engines.base import Instance
from muster_agent.state.deployments import Record
from muster_agent.tunnel.orders import ModelTarget
from muster_agent.tunnel.targets import targets


def instance(number: int = 1, **changed: Any) -> Instance:
    fields: dict[str, Any] = {"state": "running", "worker_id": "w", "deployment_id": "d", "generation": number}
    fields |= {"bind": "127.0.0.1", "port": 8000 + number}
    return Instance(f"i{number}", "name", "image", **(fields | changed))


def deploy(generation: int = 1, **env: Any) -> Deploy:
    return Deploy("c", "d", generation, "vllm", "org/model", env=env)


@dataclass
class Host:
    """What `targets` reads of an agent."""

    instances: list[Instance] = field(default_factory=list)

    def targets(self, record: Record, before: dict[str, ModelTarget] | None = None) -> dict[str, ModelTarget]:
        host = SimpleNamespace(
            host_env={"VLLM_API_KEY": "of the host"}, listening=SimpleNamespace(bind=lambda: "10.0.0.7")
        )
        context: Any = SimpleNamespace(
            instance_cache=SimpleNamespace(seen=tuple(self.instances)),
            is_own=lambda each: each.worker_id == "w",
            host=host,
        )
        runners: Any = {"d": SimpleNamespace(record=record)}
        return targets(context, runners, before or {})


RUNNING = Record(deploy(VLLM_API_KEY="k"), Status.RUNNING, container_id="i1")


def test_a_model_that_runs_can_be_asked_with_its_key() -> None:
    assert Host([instance()]).targets(RUNNING) == {"d": ModelTarget("i1", "127.0.0.1", 8001, "k")}
    of_host = Record(deploy(VLLM_API_KEY=FromHost(True)), Status.RUNNING, container_id="i1")
    assert Host([instance()]).targets(of_host)["d"].key == "of the host"
    without = Record(deploy(), Status.RUNNING, container_id="i1")
    assert Host([instance()]).targets(without)["d"].key is None


def test_where_it_listens_decides_where_it_is_asked() -> None:
    for bind, host in (("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.9", "10.0.0.9"), (None, "10.0.0.7")):
        assert Host([instance(bind=bind)]).targets(RUNNING)["d"].host == host


def test_what_does_not_run_or_is_not_ready_or_is_anothers_cannot() -> None:
    starting = Record(deploy(), Status.STARTING, container_id="i1")
    assert Host([instance()]).targets(starting) == {}
    for hidden in (instance(state="exited"), instance(port=None), instance(worker_id="other")):
        assert Host([hidden]).targets(RUNNING) == {}
    assert Host([instance(1, generation=9)]).targets(RUNNING) == {}
    assert Host([]).targets(RUNNING) == {}


def test_the_instance_before_serves_until_it_ends() -> None:
    before = Host([instance()]).targets(RUNNING)
    preparing = Record(deploy(2), Status.STARTING, container_id="i2")
    stopping = Record(Stop("c", "d", 2), Status.STOPPING)
    for record in (preparing, stopping):
        assert Host([instance(1)]).targets(record, before) == before
        assert Host([]).targets(record, before) == {}
    replaced = Record(deploy(2), Status.RUNNING, container_id="i2")
    assert Host([instance(2)]).targets(replaced, before)["d"].instance == "i2"
