"""muster gateway sync: the models that run here are in a LiteLLM proxy, and no others of ours."""

from __future__ import annotations

import json
import shlex

import pytest

from muster import WorkerPatch
from tests.fixtures.fake_litellm import KEY, NOWHERE, FakeLiteLLM
from tests.fixtures.operators import Operators


def sync(proxy: FakeLiteLLM, *options: str) -> str:
    return shlex.join(["gateway", "sync", "--litellm-url", proxy.url, "--litellm-key", KEY, "--once", *options])


@pytest.fixture
def reachable(operators: Operators) -> Operators:
    """Its worker has an address and a label."""
    worker = next(operators.client().workers())
    operators.client().change_worker(worker.worker_id, WorkerPatch(address="10.0.0.7", labels={"site": "lab"}))
    return operators


def test_running_models_are_added_and_stopped_ones_are_removed(reachable: Operators, proxy: FakeLiteLLM) -> None:
    proxy.models = {"theirs": {"model_name": "x", "model_info": {"id": "theirs"}}}
    assert reachable.out(sync(proxy)) == ""
    reachable.out("deploy org/model --name one --gpus 0 --wait")
    reachable.out("deploy org/model --name two --gpus 0 --wait")
    added = reachable.out(sync(proxy)).splitlines()
    assert [line.split(" at ")[0] for line in added] == ["added    org/model"] * 2
    assert reachable.out(sync(proxy)) == "", "in step"
    mine = [each for each in proxy.models.values() if each["model_name"] == "org/model"]
    keys = {each.api_key for each in reachable.client().deployments()}
    assert {each["litellm_params"]["api_key"] for each in mine} == keys and len(keys) == 2
    assert all(each["litellm_params"]["api_base"].startswith("http://10.0.0.7:") for each in mine)
    reachable.out("stop one")
    assert reachable.out(sync(proxy)).startswith("removed  muster-")
    assert len(proxy.models) == 2 and "theirs" in proxy.models


def test_a_selector_and_a_name_leave_other_models_alone(reachable: Operators, proxy: FakeLiteLLM) -> None:
    reachable.out("deploy org/model --name one --gpus 0 --wait")
    assert reachable.out(sync(proxy, "--selector", "site=far")) == ""
    assert reachable.out(sync(proxy, "--selector", "site=lab")).startswith("added")
    assert reachable.out(sync(proxy, "--selector", "site=far", "--name", "another")) == ""
    removed = reachable.out(sync(proxy, "--selector", "site=far", "-o", "json"))
    assert json.loads(removed)["change"] == "removed"


def test_a_model_whose_key_was_set_by_hand_is_left_out_with_a_note(reachable: Operators, proxy: FakeLiteLLM) -> None:
    reachable.out("deploy org/model --name one --gpus 0 --wait --env VLLM_API_KEY=mine")
    said = reachable.invoke(sync(proxy))
    assert (said.exit_code, said.stdout, proxy.models) == (0, "", {})
    assert said.stderr == "one is left out: its VLLM_API_KEY was set by hand, and cannot be read back\n"


def test_a_viewers_key_is_refused(reachable: Operators, proxy: FakeLiteLLM) -> None:
    reachable.out("deploy org/model --name one --gpus 0 --wait")
    viewer = reachable.client().create_key("looks", "viewer")
    said = reachable.invoke(sync(proxy), key=str(viewer.key))
    assert (said.exit_code, proxy.models) == (4, {}) and "an API key with the role operator" in said.stderr


def test_while_either_side_is_silent_nothing_is_removed(reachable: Operators, proxy: FakeLiteLLM) -> None:
    reachable.out("deploy org/model --name one --gpus 0 --wait")
    reachable.out(sync(proxy))
    reachable.app.down = True
    assert reachable.invoke(sync(proxy)).exit_code == 6
    reachable.app.down = False
    nobody = sync(proxy).replace(proxy.url, NOWHERE)
    assert "LiteLLM does not answer" in reachable.invoke(nobody).stderr
    assert len(proxy.models) == 1


def test_without_once_it_goes_on_until_ctrl_c_and_bears_a_control_plane_that_is_away(
    reachable: Operators, proxy: FakeLiteLLM
) -> None:
    reachable.out("deploy org/model --name one --gpus 0 --wait")
    before = reachable.waited

    def meanwhile() -> None:
        reachable.app.down = not reachable.app.down
        if reachable.waited > before + 30:
            raise KeyboardInterrupt

    reachable.meanwhile = meanwhile
    said = reachable.invoke(sync(proxy).replace(" --once", ""))
    assert (said.exit_code, len(proxy.models)) == (130, 1)
    assert said.stdout.startswith("added    org/model at http://10.0.0.7:") and said.stdout.count("\n") == 1
    cause = "the connection was refused: nothing listens there"
    reason = f"cannot reach https://muster.example: {cause}; retrying in 10 s"
    assert said.stderr.splitlines() == [reason, reason, "Error: stopped synchronizing; LiteLLM keeps its models"]


def test_without_a_master_key_it_is_a_usage_error(reachable: Operators) -> None:
    said = reachable.out("gateway sync --litellm-url http://litellm:4000 --once", 2)
    assert "LiteLLM's master key is required: set LITELLM_MASTER_KEY, or give --litellm-key" in said


def test_a_name_that_does_not_resolve_here_is_told_once_and_handed_on_by_request(
    operators: Operators, proxy: FakeLiteLLM
) -> None:
    worker = next(operators.client().workers())
    operators.client().change_worker(worker.worker_id, WorkerPatch(address="gpu.invalid"))
    operators.out("deploy org/model --name one --gpus 0 --wait")
    said = operators.invoke(sync(proxy))
    assert (said.exit_code, said.stdout, proxy.models) == (0, "", {})
    assert said.stderr.startswith("http://gpu.invalid:") and "does not resolve here" in said.stderr
    assert "http://gpu.invalid:" in operators.out(sync(proxy, "--keep-names"))
    assert operators.invoke(sync(proxy)).stdout == "" and len(proxy.models) == 1, "what LiteLLM has stays"


def test_models_without_an_endpoint_are_reached_through_a_gateway(operators: Operators, proxy: FakeLiteLLM) -> None:
    operators.out("deploy org/model --name one --gpus 0 --wait")
    operators.out("deploy org/model --name two --gpus 0 --wait")
    via = ("--via", "https://10.0.0.9:8443/", "--via-key", "mst_key_x")
    assert operators.out(sync(proxy)) == ""
    (added,) = operators.out(sync(proxy, *via)).splitlines()
    assert added.startswith("added    org/model at https://10.0.0.9:8443/v1")
    (entry,) = proxy.models.values()
    assert entry["litellm_params"]["api_key"] == "mst_key_x"
    assert operators.out(sync(proxy, *via)) == "", "in step"
    assert operators.out(sync(proxy)).startswith("removed")
    assert "belong together" in operators.out(sync(proxy, "--via", "https://x"), 2)
