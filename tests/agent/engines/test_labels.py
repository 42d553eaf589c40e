"""What an instance says of itself is read back as it was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_agent.engines import labels
from muster_agent.engines.base import EngineError, RunSpec
from muster_agent.engines.labels import Owner, instance_name

DEVICES = st.lists(st.sampled_from(["GPU-6f1c", "GPU-a02b", "1"]), unique=True).map(tuple)


@given(st.text(), st.text(), st.integers(0, 2**53), st.text(), st.integers(1, 65535), DEVICES)
def test_what_is_written_is_read_back(
    worker_id: str, deployment_id: str, generation: int, model: str, port: int, devices: tuple[str, ...]
) -> None:
    bind, gpus = "127.0.0.1", tuple(range(len(devices)))
    spec = RunSpec("n", worker_id, deployment_id, generation, model, None, (), {}, gpus, bind, port, devices=devices)
    owner = Owner(worker_id, deployment_id, generation, model, port, bind, devices)
    assert labels.read(labels.write(spec)) == owner


def test_what_an_older_agent_wrote_does_not_tell_the_gpus() -> None:
    spec = RunSpec("n", "w", "d", 1, "m", None, (), {}, (0,), "127.0.0.1", 1)
    older = {name: value for name, value in labels.write(spec).items() if name != labels.GPUS}
    assert labels.read(older).gpus is None


@given(
    st.dictionaries(st.sampled_from([labels.WORKER, labels.DEPLOYMENT, labels.GENERATION, labels.PORT, "x"]), st.text())
)
def test_anybodys_labels_can_be_read(found: dict[str, str]) -> None:
    owner = labels.read(found)
    assert owner == Owner() or owner.deployment_id == found[labels.DEPLOYMENT]


def test_a_name_holds_deployment_and_generation_and_unsafe_ids_are_refused() -> None:
    assert instance_name("0b1c", 7) == "muster-0b1c-g7"
    for unsafe in ("", "../x", "a/b", "-x", ".x", "a b", "ü", "x" * 200, "a\n"):
        with pytest.raises(EngineError):
            instance_name(unsafe, 1)
