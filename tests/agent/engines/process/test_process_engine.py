"""The process engine: the shared suite, and what is started in which environment."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from muster_agent.engines.base import EngineError
from muster_agent.engines.process.process_engine import ProcessEngine
from tests.fixtures.engine_suite import EngineSuite, only, ready
from tests.fixtures.process_rig import PUPPET, ProcessRig, RigOf
from tests.fixtures.puppets import Puppets
from tests.fixtures.waiting import eventually


class TestProcessEngine(EngineSuite):
    """The shared suite."""


def test_what_was_prepared_and_never_ran_starts_afresh(rig: ProcessRig) -> None:
    instance = ready(rig, rig.engine.start(rig.spec()))
    rig.engine.stop(instance.id, 5)
    for leftover in ("pid", "exit"):
        (rig.state_dir / "processes" / instance.name / leftover).unlink()
    assert only(rig).state == "created"
    again = rig.engine.start(rig.spec())
    assert again.state == "running"
    assert again.id != instance.id


def test_a_folder_without_a_record_is_nobodys_and_makes_way(rig: ProcessRig) -> None:
    folder = rig.state_dir / "processes" / rig.spec().name
    folder.mkdir(parents=True)
    assert rig.engine.instances() == []
    (folder / "instance.json").write_bytes(b'{"id": "hal')
    assert rig.engine.instances() == []
    assert rig.engine.start(rig.spec()).state == "running"


def test_it_is_told_of_a_mig_device_by_its_uuid(rig_of: RigOf) -> None:
    rig = rig_of("/bin/sh", "-c", "echo $CUDA_VISIBLE_DEVICES", PATH=os.environ["PATH"])
    instance = rig.engine.start(replace(rig.spec(), gpus=(3,), devices=("MIG-x",), positions=(0,)))
    assert instance.gpus == ("MIG-x",)
    eventually(lambda: rig.engine.instances()[0].state == "exited")
    assert rig.engine.logs(instance.id, 100, None).text == "MIG-x\n"


@pytest.mark.parametrize(
    ("positions", "visible"), [((), "1,3"), ((0, 2), "0,2")], ids=["as placed", "as CUDA counts now"]
)
def test_it_knows_its_gpus_and_nothing_of_the_agent(rig_of: RigOf, positions: tuple[int, ...], visible: str) -> None:
    environ = {"PATH": os.environ["PATH"], "MUSTER_TOKEN": "secret", "CUDA_VISIBLE_DEVICES": "7"}
    rig = rig_of("/bin/sh", "-c", "env", **environ)
    engine = rig.engine
    spec = replace(rig.spec(), gpus=(1, 3), devices=("GPU-b", "GPU-d"), positions=positions)
    instance = engine.start(replace(spec, env={"VLLM_API_KEY": "sk-hidden"}))
    assert instance.gpus == ("GPU-b", "GPU-d")
    eventually(lambda: engine.instances()[0].state == "exited")
    env = dict(line.split("=", 1) for line in engine.logs(instance.id, 100, None).text.splitlines())
    assert (env["CUDA_VISIBLE_DEVICES"], env["CUDA_DEVICE_ORDER"]) == (visible, "PCI_BUS_ID")
    assert env["VLLM_API_KEY"] == "sk-hidden"
    assert "MUSTER_TOKEN" not in env


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (("no-such-vllm", "serve"), "CONTAINER_FAILED", "--vllm-command"),
        (("/etc/passwd",), "CONTAINER_FAILED", "--vllm-command"),
    ],
)
def test_a_command_that_is_not_there_is_named_with_its_setting(
    tmp_path: Path, command: tuple[str, ...], code: str, says: str
) -> None:
    engine = ProcessEngine(tmp_path / "state", command)
    with pytest.raises(EngineError, match=says) as raised:
        engine.start(Puppets(engine, tmp_path).spec())
    assert (raised.value.error_code, raised.value.permanent) == (code, True)
    assert engine.instances() == []


def test_a_state_folder_that_cannot_be_written_fails_the_start(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    engine = ProcessEngine(tmp_path / "state", PUPPET)
    with pytest.raises(EngineError) as raised:
        engine.start(Puppets(engine, tmp_path).spec())
    assert raised.value.error_code == "CONTAINER_FAILED"


def test_an_environment_that_no_process_can_have_is_refused(tmp_path: Path) -> None:
    engine = ProcessEngine(tmp_path / "state", PUPPET)
    spec = Puppets(engine, tmp_path).spec()
    for env in ({"A": "nul \0"}, {"A": "x" * 3_000_000}):
        with pytest.raises(EngineError):
            engine.start(replace(spec, env=env))
        assert engine.instances() == []
