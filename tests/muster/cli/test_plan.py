"""What `muster apply` reads and what it would do: a file and what there is, to steps in words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.api import messages as m
from muster.api import resources as r
from muster.cli.plan import FileError, Step, Wanted, plan, read
from tests.fixtures.resources import deployment


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("models: [", "line 1: "),
        ("models: {m: {modle: x}}", "models[...]: Object contains unknown field `modle`"),
        ("models: {m: {model: x, gpus: many}}", "models[...].gpus: Expected `int | array`, got `str`"),
        ("model: {}", "the file: Object contains unknown field `model`"),
        ("models:\n  m: {model: x}\n  m: {model: y}", "line 3: 'm' is given twice"),
        ("models: {m: {model: x, state: paused}}", "models[...].state: Invalid enum value 'paused'"),
        ("models: {-m: {model: x}}", "Expected `str` matching regex"),
        ("models: {m: !!python/object:os.system {}}", "could not determine a constructor"),
        ("", "Expected `object`, got `null`"),
        ("[" * 1000, "nested too deeply"),
        ("models: {m: {model: x, config: {a: &a [*a]}}}", "nested too deeply"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_place(content: str, complaint: str) -> None:
    with pytest.raises(FileError, match=re.escape(complaint)):
        read(content)


def test_yes_no_dates_and_bare_words_stay_text() -> None:
    content = "models: {off: {model: org/m, config: {date: 2026-01-01, a: on, b: no, c: true, d: 1e3, e: 0.9}}}"
    wanted = read(content)["off"]
    assert wanted.config == {"date": "2026-01-01", "a": "on", "b": "no", "c": True, "d": "1e3", "e": 0.9}


CONFIGS = st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 2))
WANTED = st.builds(
    Wanted,
    model=st.sampled_from(["x", "y"]),
    gpus=st.sampled_from([0, 1, [0]]),
    config=CONFIGS,
    image=st.sampled_from([None, "i"]),
    env=st.sampled_from([{}, {"A": "b"}, {"A": m.FromHost(True), "B": "c"}]),
    selector=st.sampled_from([{}, {"zone": "a"}]),
    restart=st.sampled_from(["on-failure", "never"]),
    state=st.sampled_from(["running", "stopped"]),
)


def made(step: Step) -> r.Deployment:
    """What there is once the step is done and has settled."""
    wanted = step.wanted
    return deployment(
        name=step.name,
        model=wanted.model,
        gpus=wanted.gpus,
        config=wanted.config,
        image=wanted.image,
        selector=wanted.selector,
        restart=wanted.restart,
        env=sorted(wanted.env),
        desired=wanted.state,
        status=wanted.state,
    )


@given(
    st.dictionaries(st.sampled_from(["one", "two"]), WANTED), st.dictionaries(st.sampled_from(["one", "two"]), WANTED)
)
def test_a_plan_that_is_carried_out_leaves_nothing_to_do(before: dict[str, Wanted], after: dict[str, Wanted]) -> None:
    found = {step.name: made(step) for step in plan(before, {}, {})}
    steps = plan(after, found, {})
    assert [step.name for step in steps] == list(after)
    for step in steps:
        same = step.name in before and made(step) == found[step.name]
        assert (step.verb == "keep") == same
    found |= {step.name: made(step) for step in steps}
    assert {step.verb for step in plan(after, found, {})} <= {"keep"}


NAMED = Wanted(model="org/model", worker="gpu-1")


@pytest.mark.parametrize(
    ("wanted", "found", "verb", "why"),
    [
        (NAMED, {}, "keep", ()),
        (Wanted("org/model", gpus=2), {}, "change", ("gpus: 1 → 2",)),
        (Wanted("org/model", image="i"), {}, "change", ("image: null → i",)),
        (Wanted("org/model", config={"a": 1}), {"config": {"b": 2}}, "change", ("config.a", "config.b")),
        (Wanted("org/model", env={"A": "b"}), {}, "change", ("env: A",)),
        (NAMED, {"worker_id": "w2"}, "change", ("worker: → gpu-1",)),
        (Wanted("org/other"), {}, "replace", ("model: org/model → org/other",)),
        (Wanted("org/model", restart="never"), {}, "replace", ("restart: on-failure → never",)),
        (Wanted("org/model", selector={"a": "b"}), {}, "replace", ('selector: {} → {"a":"b"}',)),
        (Wanted("org/model", state="stopped"), {}, "stop", ()),
        (NAMED, {"desired": "stopped", "status": "stopped"}, "start", ("it is stopped",)),
        (NAMED, {"status": "error", "error_code": "PORT_IN_USE"}, "start", ("it is error: PORT_IN_USE",)),
    ],
)
def test_a_difference_is_a_step_that_names_it(
    wanted: Wanted, found: dict[str, object], verb: str, why: tuple[str, ...]
) -> None:
    (step,) = plan({"m": wanted}, {"m": deployment(**found)}, {"gpu-1": "w1"})
    assert step.verb == verb and len(step.why) == len(why)
    assert all(said.startswith(expected) for said, expected in zip(step.why, why, strict=True)), step.why


def test_a_model_that_there_is_not_is_created_where_the_file_says() -> None:
    (step,) = plan({"m": NAMED}, {}, {"gpu-1": "w1"})
    assert (step.verb, step.new.name, step.new.model, step.new.worker_id) == ("create", "m", "org/model", "w1")


def test_variables_are_sent_again_only_when_that_is_asked_for() -> None:
    wanted, found = {"m": Wanted("org/model", env={"A": "b"})}, {"m": deployment(env=["A"])}
    assert plan(wanted, found, {})[0].verb == "keep"
    (step,) = plan(wanted, found, {}, send_env=True)
    assert (step.verb, step.why, step.patch.env) == ("change", ("env: A, sent again",), {"A": "b"})
