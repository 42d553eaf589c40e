"""Which models a LiteLLM should have, and the steps to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from muster.gateway import Model, Plan, plan, wanted
from tests.fixtures.resources import deployment, worker

MODELS = st.lists(
    st.builds(
        Model, st.sampled_from("ab"), st.sampled_from(["http://x/v1", "http://y/v1"]), st.just("k"), st.text("de")
    ),
    unique_by=lambda each: each.id,
    max_size=6,
)


@given(MODELS, MODELS)
def test_an_executed_plan_leaves_the_wanted_models_and_the_next_plan_is_empty(
    models: list[Model], before: list[Model]
) -> None:
    present = {each.id for each in before}
    made = plan(models, present)
    assert not {each.id for each in made.add} & present
    after = (present | {each.id for each in made.add}) - set(made.delete)
    assert after == {each.id for each in models}
    assert plan(models, after) == Plan([], [])


def test_another_place_or_key_is_another_model() -> None:
    one = Model("m", "http://x/v1", "k", "d")
    others = [
        Model("m", "http://y/v1", "k", "d"),
        Model("m", "http://x/v1", "l", "d"),
        Model("n", "http://x/v1", "k", "d"),
    ]
    assert len({each.id for each in [one, *others]}) == 4
    assert one.id == Model("m", "http://x/v1", "k", "d").id


def test_a_running_deployment_is_a_model_under_the_name_that_it_serves() -> None:
    found = wanted([deployment(served_model_name="served")], [worker()], {})
    assert found == [Model("served", "http://10.0.0.7:20000/v1", "the model's key", "d1")]


@pytest.mark.parametrize(
    "changes",
    [
        {"desired": "stopped"},
        {"status": "starting"},
        {"reachable": False},
        {"endpoint": None},
        {"api_key": UNSET},
        {"worker_id": "w2"},
        {"worker_id": None},
    ],
)
def test_a_deployment_that_nobody_can_ask_is_no_model(changes: dict[str, object]) -> None:
    made = deployment(**{name: value for name, value in changes.items() if value is not UNSET})
    if "api_key" in changes:
        made.api_key = UNSET
    assert wanted([made], [worker()], {}) == []


def test_a_selector_takes_the_workers_that_have_all_its_labels() -> None:
    here = [worker(labels={"site": "lab", "zone": "a"})]
    assert wanted([deployment()], here, {"site": "lab"})
    assert wanted([deployment()], here, {"site": "lab", "zone": "b"}) == []
