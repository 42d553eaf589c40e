"""Properties of the plan, over every host that hypothesis can think of."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.engines import Instance
from agent.plan import Bury, Fetch, Start, Step, Terminate, of_deployment, plan, wanted
from chalicelib.contract.messages import Deploy, Stop

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
            case Bury(id):
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
    assert steps == (Fetch("new"), Terminate("i1"), Bury("i1"), Start(2))
