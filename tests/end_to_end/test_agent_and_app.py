"""The real agent, on a host in memory, against the real app: here neither side is a fake."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from chalicelib.store.tables import Slot, WorkerHeartbeat
from muster.api.messages import Disk, DiskPath, GpuUsage
from tests.fixtures.agent_and_app import AgentAndApp
from tests.fixtures.app import REGISTRATION_TOKEN
from tests.fixtures.database import Recorder


def test_a_model_comes_up_and_goes(whole: AgentAndApp) -> None:
    deployment_id = whole.create()
    whole.round()
    seen = whole.see(deployment_id)
    assert (seen["status"], seen["desired"]) == ("running", "running")
    assert seen["container_id"] and seen["port"]
    assert len(whole.running) == 1
    whole.act(deployment_id, "stop")
    whole.round()
    assert whole.see(deployment_id)["status"] == "stopped"
    assert whole.running == []
    whole.act(deployment_id, "start")
    whole.round()
    assert whole.see(deployment_id)["status"] == "running"


def test_a_restart_replaces_the_container_and_there_are_never_two(whole: AgentAndApp) -> None:
    deployment_id = whole.create()
    whole.round()
    before = whole.running
    whole.act(deployment_id, "restart")
    whole.round()
    assert whole.see(deployment_id)["status"] == "running"
    assert len(whole.running) == 1 and whole.running != before


def test_lost_answers_lose_nothing_and_start_nothing_twice(whole: AgentAndApp) -> None:
    deployment_id = whole.create()
    for _ in range(4):
        whole.app.lose_answers = 1
        whole.round(1)
    whole.round()
    assert whole.see(deployment_id)["status"] == "running"
    assert len(whole.running) == 1


def test_a_killed_agent_adopts_what_runs(whole: AgentAndApp) -> None:
    deployment_id = whole.create()
    whole.round()
    before = whole.running
    whole.kill()
    whole.boot(REGISTRATION_TOKEN)
    whole.round()
    assert whole.running == before
    assert whole.see(deployment_id)["status"] == "running"
    whole.act(deployment_id, "stop")
    whole.round()
    assert (whole.running, whole.see(deployment_id)["status"]) == ([], "stopped")


def test_an_agent_that_lost_its_disk_is_told_its_intents_again(whole: AgentAndApp) -> None:
    deployment_id = whole.create()
    whole.round()
    whole.kill()
    shutil.rmtree(whole.folder / "state")
    heartbeat = WorkerHeartbeat(whole.see(deployment_id)["worker_id"])
    heartbeat.update(actions=[WorkerHeartbeat.last_seen.set(time.time() - 100)])  # until then its name is in use
    whole.boot(REGISTRATION_TOKEN)
    whole.round()
    assert len(whole.running) == 1
    whole.act(deployment_id, "stop")
    whole.round()
    assert (whole.running, whole.see(deployment_id)["status"]) == ([], "stopped")


def test_an_agent_with_a_wrong_token_comes_back_at_once_by_its_boot_id(whole: AgentAndApp) -> None:
    """The token in its journal is damaged; its worker is online, and the journal has its last process's boot id."""
    deployment_id = whole.create()
    whole.round()
    worker_id = whole.see(deployment_id)["worker_id"]
    before = whole.running
    whole.database.set_meta(token="mst_wrk_x_forged")
    whole.kill()
    whole.boot(REGISTRATION_TOKEN)
    whole.round()
    assert whole.runtime.context.worker_id == worker_id
    assert (whole.running, whole.see(deployment_id)["status"]) == (before, "running")


def test_an_agent_comes_back_by_its_own_token_when_the_registration_token_is_revoked(whole: AgentAndApp) -> None:
    deployment_id = whole.create()
    whole.round()
    (token,) = whole.app.operator("GET", "/api/registration-tokens")["registration_tokens"]
    whole.app.operator("DELETE", f"/api/registration-tokens/{token['token_id']}")
    whole.kill()
    whole.boot(REGISTRATION_TOKEN)
    whole.round()
    whole.act(deployment_id, "stop")
    whole.round()
    assert (whole.running, whole.see(deployment_id)["status"]) == ([], "stopped")


def test_a_worker_declared_lost_reports_itself_running_again(whole: AgentAndApp) -> None:
    deployment_id = whole.create()
    whole.round()
    worker_id = whole.see(deployment_id)["worker_id"]
    whole.app.operator("POST", f"/api/workers/{worker_id}/lost")
    assert whole.see(deployment_id)["error_code"] == "WORKER_LOST"
    whole.round(1)
    noted = Slot(worker_id, f"D#{deployment_id}")
    noted.update(actions=[Slot.mismatch_since.set(time.time() - 30)])
    whole.round()
    assert whole.see(deployment_id)["status"] == "running"
    assert len(whole.running) == 1


def test_two_deployments_keep_apart(whole: AgentAndApp) -> None:
    first, second = whole.create(name="first"), whole.create(name="second")
    whole.round()
    whole.act(first, "stop")
    whole.round()
    assert [whole.see(each)["status"] for each in (first, second)] == ["stopped", "running"]
    assert len(whole.running) == 1


def test_operations_make_the_round_trip(whole: AgentAndApp) -> None:
    deployment_id = whole.create()
    whole.round()
    worker_id = whole.see(deployment_id)["worker_id"]
    asked = whole.app.operator("GET", f"/api/workers/{worker_id}/containers?wait=0")
    whole.round()
    answer = whole.app.operator("GET", f"/api/operations/{asked['operation_id']}")
    assert answer["status"] == "succeeded"
    assert [each["ours"] for each in answer["output"]["containers"]] == [True]


class Disks(AgentAndApp):
    def _sample(self) -> tuple[list[GpuUsage], Disk | None]:
        paths = [DiskPath("/var/lib/docker", "images", 100, 40, 60), DiskPath("/srv", "models", 900, 0, 900)]
        return [], Disk(100, 40, 60, 40.0, paths=paths)


def test_the_disks_of_the_last_report_are_told_folder_by_folder(database: Recorder, tmp_path: Path) -> None:
    disks = Disks(tmp_path)
    disks.boot(REGISTRATION_TOKEN)
    disks.round(3)
    (worker,) = disks.app.operator("GET", "/api/workers")["workers"]
    for answer in (worker["disk"], disks.app.operator("GET", f"/api/workers/{worker['worker_id']}/storage/disk")):
        assert [each["purpose"] for each in answer["paths"]] == ["images", "models"]
        assert answer["as_of"]
