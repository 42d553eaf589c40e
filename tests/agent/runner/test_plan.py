"""Properties of the plan, over every host that hypothesis can think of."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.api.messages import Deploy, Stop
from muster_agent.engines.base import Instance
from muster_agent.runner.plan import Fetch, Remove, Start, Step, Terminate, of_deployment, plan, wanted

ME = "me"
GENERATIONS = st.integers(1, 4)


@st.composite
def hosts(draw: st.DrawFn) -> list[Instance]:
    count = draw(st.integers(0, 8))
    return [
        Instance(
            id=f"i{number}",
            name=f"n{number}",
            image="i",
            state=draw(st.sampled_from(["created", "running", "exited"])),
            worker_id=draw(st.sampled_from([ME, "other", None])),
            deployment_id=draw(st.sampled_from(["d1", "d2", None])),
            generation=draw(st.one_of(st.none(), GENERATIONS)),
            created=float(draw(st.integers(0, 3))),
        )
        for number in range(count)
    ]


intents = st.builds(
    lambda deploys, generation: (
        Deploy("c", "d1", generation, "vllm", "org/model") if deploys else Stop("c", "d1", generation)
    ),
    st.booleans(),
    GENERATIONS,
)
images = st.sampled_from([None, "image"])


def execute(steps: tuple[Step, ...], host: list[Instance]) -> list[list[Instance]]:
    """Every state of the host on the way. Fails where an engine would."""
    states = [host]
    for step in steps:
        by_id = {each.id: each for each in states[-1]}
        match step:
            case Terminate(id):
                assert by_id[id].state == "running"
                by_id[id] = replace(by_id[id], state="exited")
            case Remove(id):
                assert by_id[id].state != "running"
                del by_id[id]
            case Start(generation):
                assert all(each.name != "new" for each in by_id.values())
                by_id["new"] = Instance("new", "new", "image", "running", ME, "d1", generation)
            case Fetch():
                pass
        states.append(list(by_id.values()))
    return states


def ours(host: list[Instance]) -> list[Instance]:
    return of_deployment("d1", ME, host)


def running(host: list[Instance]) -> list[Instance]:
    return [each for each in ours(host) if each.state == "running"]


@given(intents, hosts(), st.booleans(), images)
def test_never_two_instances_of_one_deployment(
    intent: Deploy | Stop, host: list[Instance], may_start: bool, image: str | None
) -> None:
    states = execute(plan(intent, ours(host), may_start=may_start, missing_image=image), host)
    for before, after in pairwise(states):
        assert len(running(after)) <= max(1, len(running(before)))
        started = {each.id for each in running(after)} - {each.id for each in running(before)}
        assert not started or len(ours(after)) == 1


@given(intents, hosts(), st.booleans(), images)
def test_nothing_unlabelled_or_foreign_is_touched(
    intent: Deploy | Stop, host: list[Instance], may_start: bool, image: str | None
) -> None:
    last = execute(plan(intent, ours(host), may_start=may_start, missing_image=image), host)[-1]
    assert [each for each in host if each not in ours(host)] == [each for each in last if each not in ours(last)]


@given(intents, hosts(), st.booleans(), images)
def test_planning_again_after_executing_is_empty(
    intent: Deploy | Stop, host: list[Instance], may_start: bool, image: str | None
) -> None:
    last = execute(plan(intent, ours(host), may_start=may_start, missing_image=image), host)[-1]
    assert plan(intent, ours(last), may_start=may_start) == ()


@given(intents, hosts())
def test_while_a_deploy_waits_what_serves_goes_on(intent: Deploy | Stop, host: list[Instance]) -> None:
    last = execute(plan(intent, ours(host), may_start=False), host)[-1]
    if isinstance(intent, Deploy) and wanted(intent, ours(host)) is None:
        assert running(last) == running(host)


@given(intents, hosts())
def test_afterwards_the_host_is_as_the_intent_says(intent: Deploy | Stop, host: list[Instance]) -> None:
    newer = any((each.generation or 0) > intent.generation for each in ours(host))
    last = execute(plan(intent, ours(host)), host)[-1]
    if newer:
        assert last == host
    elif isinstance(intent, Deploy):
        assert [each.generation for each in ours(last)] == [intent.generation]
        assert running(last) == ours(last)
    else:
        assert ours(last) == []


@given(intents, hosts())
def test_what_is_wanted_stays(intent: Deploy | Stop, host: list[Instance]) -> None:
    keep = wanted(intent, ours(host))
    if keep is not None:
        assert keep in execute(plan(intent, ours(host)), host)[-1]


def test_old_one_serves_while_the_new_image_is_fetched() -> None:
    old = Instance("i1", "n1", "old", "running", ME, "d1", 1)
    steps = plan(Deploy("c", "d1", 2, "vllm", "org/model"), [old], missing_image="new")
    assert steps == (Fetch("new"), Terminate("i1"), Remove("i1"), Start(2))


State = Literal["created", "running", "exited"]


def instance(id: str, state: State, generation: int | None = 1, deployment: str = "d1", worker: str = ME) -> Instance:
    return Instance(id, id, "image", state, worker, deployment, generation)


DEPLOY, STOP = Deploy("c", "d1", 2, "vllm", "org/model"), Stop("c", "d1", 2)


def test_an_instance_is_a_deployments_own_only_with_the_labels_of_both_deployment_and_worker() -> None:
    mine = instance("mine", "running")
    others = [instance("d2", "running", deployment="d2"), instance("w2", "running", worker="another")]
    assert of_deployment("d1", ME, [others[0], mine, others[1]]) == [mine]


@pytest.mark.parametrize("state", ["created", "exited"])
def test_an_instance_of_the_wanted_generation_that_does_not_run_is_replaced(state: State) -> None:
    assert plan(DEPLOY, [instance("dead", state, 2)]) == (Remove("dead"), Start(2))


def test_a_stop_ends_the_instance_of_its_own_generation() -> None:
    assert plan(STOP, [instance("i1", "running", 2)]) == (Terminate("i1"), Remove("i1"))


@pytest.mark.parametrize(
    ("intent", "there", "may_start"),
    [
        (DEPLOY, [], False),
        (DEPLOY, [instance("i1", "running", 2)], True),
        (DEPLOY, [instance("i1", "running", 3)], True),
        (STOP, [instance("i1", "running", 1)], True),
    ],
    ids=["waits", "runs", "is outdated", "is a stop"],
)
def test_an_image_is_fetched_only_for_a_start(intent: Deploy | Stop, there: list[Instance], may_start: bool) -> None:
    assert Fetch("image") not in plan(intent, there, may_start=may_start, missing_image="image")


def test_a_start_whose_image_is_there_fetches_nothing() -> None:
    assert plan(DEPLOY, []) == (Start(2),)


def test_of_two_that_run_the_one_that_was_started_first_stays() -> None:
    first, second = (replace(instance(f"i{at}", "running", 2), created=float(at)) for at in (1, 2))
    assert wanted(DEPLOY, [second, first]) == first
    assert plan(DEPLOY, [second, first]) == (Terminate("i2"), Remove("i2"))
