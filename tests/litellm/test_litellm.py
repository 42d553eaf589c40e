"""A model that is deployed answers through a LiteLLM that was there before it, and one that is gone is not asked."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable

from tests.fixtures.http_client import Json, Operator
from tests.fixtures.waiting import PATIENCE
from tests.litellm.conftest import Fleet, Proxy, wait

Sync = Callable[..., subprocess.Popen[str]]


def running(operator: Operator, *made: Json) -> None:
    wait(lambda: {operator.status(each["deployment_id"]) for each in made} == {"running"})


def has(litellm: Proxy, made: Json) -> bool:
    return any(made["deployment_id"] in model_id for model_id in litellm.models())


def test_a_model_deployed_later_answers_through_the_same_process(
    litellm: Proxy, fleet: Fleet, operator: Operator, sync: Sync
) -> None:
    fleet.join("gpu-a")
    sync("--every", "10")
    theirs = {"model_name": "theirs", "litellm_params": {"model": "hosted_vllm/x", "api_base": "http://127.0.0.1:9/v1"}}
    others = litellm.call("POST", "/model/new", theirs | {"model_info": {"id": "somebody-elses"}})
    assert others.ok, others.text
    made = operator.deploy(None, name="late", model="org/late")
    running(operator, made)
    took = wait(lambda: litellm.chat("org/late").ok, lambda: litellm.chat("org/late").text)
    assert litellm.process.poll() is None
    print(f"answered through LiteLLM {took:.1f} s after it ran")
    operator.post(f"/api/deployments/{made['deployment_id']}/stop").expect(200)
    wait(lambda: not has(litellm, made))
    assert "somebody-elses" in litellm.models()


def test_two_of_one_model_share_the_load_and_one_that_is_stopped_is_not_asked_again(
    litellm: Proxy, fleet: Fleet, operator: Operator, sync: Sync
) -> None:
    fleet.join("gpu-a")
    fleet.join("gpu-b")
    sync("--every", "2")
    first, second = (operator.deploy(None, name=name, model="org/shared") for name in ("one", "two"))
    running(operator, first, second)
    wait(lambda: has(litellm, first) and has(litellm, second))
    assert len(litellm.answers("org/shared")) == 2
    operator.post(f"/api/deployments/{first['deployment_id']}/stop").expect(200)
    wait(lambda: not has(litellm, first))
    assert len(litellm.answers("org/shared", 60)) == 1, "and none of them failed"


def test_what_a_worker_had_leaves_when_it_is_silent_for_90_seconds_and_comes_back_with_it(
    litellm: Proxy, fleet: Fleet, operator: Operator, sync: Sync
) -> None:
    agent = fleet.join("gpu-a")
    sync("--every", "2")
    made = operator.deploy(None, name="silent", model="org/silent")
    running(operator, made)
    wait(lambda: has(litellm, made))
    agent.send_signal(signal.SIGSTOP)
    silent = wait(lambda: not has(litellm, made))
    assert silent > 80
    agent.send_signal(signal.SIGCONT)
    wait(lambda: has(litellm, made) and litellm.chat("org/silent").ok)


def test_a_selector_takes_what_its_workers_have(litellm: Proxy, fleet: Fleet, operator: Operator, sync: Sync) -> None:
    fleet.join("gpu-lab", site="lab")
    fleet.join("gpu-far", site="far")
    lab, far = (operator.deploy(None, name=site, model="org/sited", selector={"site": site}) for site in ("lab", "far"))
    running(operator, lab, far)
    ended = sync("--selector", "site=lab", "--name", "the lab's", "--once")
    assert ended.wait(PATIENCE) == 0
    assert has(litellm, lab) and not has(litellm, far)
    other = sync("--selector", "site=nowhere", "--name", "another's", "--once")
    assert other.wait(PATIENCE) == 0
    assert has(litellm, lab), "it is not the other's to take away"
    operator.post(f"/api/deployments/{lab['deployment_id']}/stop").expect(200)
    assert sync("--selector", "site=lab", "--name", "the lab's", "--once").wait(PATIENCE) == 0
    assert not has(litellm, lab)
