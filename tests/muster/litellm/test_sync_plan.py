"""Which models a LiteLLM should have, and the steps to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from muster.litellm.sync_plan import Model, Plan, check, plan, wanted
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
        {"status": "downloading", "serving_generation": 1, "serving_worker_id": "w1", "reachable": False},
        {"status": "pending", "worker_id": "w1", "serving_generation": 1, "serving_worker_id": "w2"},
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


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "downloading", "serving_generation": 1, "serving_worker_id": "w1"},
        {"status": "pending", "worker_id": None, "serving_generation": 1, "serving_worker_id": "w1"},
        {
            "status": "starting",
            "worker_id": "w2",
            "serving_generation": 1,
            "serving_worker_id": "w1",
            "reachable": False,
        },
    ],
)
def test_what_serves_while_a_change_is_prepared_stays_a_model(changes: dict[str, object]) -> None:
    assert wanted([deployment(**changes)], [worker()], {}) == wanted([deployment()], [worker()], {}) != []


NAMES = {
    "gpu-1": ["10.0.0.7", "10.0.0.8"],
    "gpu-6": ["fd00::7"],
    "evil": ["10.0.0.7", "169.254.169.254"],
    "here": ["127.0.0.1"],
}


def checked(api_base: str, *, is_local: bool = False) -> list[str]:
    """Where the model is handed on to; `?` where its name does not resolve."""
    found = check([Model("m", api_base, "k", "d")], lambda host: NAMES.get(host, []), is_local)
    assert len(found.models) + len(found.unresolved) + len(found.refused) == 1
    return [*(each.api_base for each in found.models), *("?" for _ in found.unresolved)]


@pytest.mark.parametrize(
    ("api_base", "handed_on"),
    [
        ("http://10.0.0.7:20000/v1", ["http://10.0.0.7:20000/v1"]),
        ("http://gpu-1:20000/v1", ["http://10.0.0.7:20000/v1"]),
        ("http://gpu-6:20000/v1", ["http://[fd00::7]:20000/v1"]),
        ("https://gpu-1:20000/v1", ["https://gpu-1:20000/v1"]),
        ("http://gpu-1/models/20000/v1", ["http://gpu-1/models/20000/v1"]),
        ("http://unknown:20000/v1", ["?"]),
        ("http://169.254.169.254:80/v1", []),
        ("http://0xA9FEA9FE:80/v1", []),
        ("http://evil:20000/v1", []),
        ("https://evil:20000/v1", []),
        ("http://here:20000/v1", []),
        ("http://127.0.0.1:20000/v1", []),
    ],
)
def test_a_name_is_resolved_once_and_each_result_is_checked(api_base: str, handed_on: list[str]) -> None:
    assert checked(api_base) == handed_on


def test_loopback_is_this_machine_where_the_control_plane_is() -> None:
    assert checked("http://127.0.0.1:20000/v1", is_local=True) == ["http://127.0.0.1:20000/v1"]
    assert checked("http://here:20000/v1", is_local=True) == ["http://127.0.0.1:20000/v1"]


def test_names_stay_where_nobody_resolves_them() -> None:
    model = Model("m", "http://unknown:20000/v1", "k", "d")
    assert check([model], None, is_local=False).models == [model]
    assert check([Model("m", "http://169.254.169.254:80/v1", "k", "d")], None, is_local=False).models == []


def test_what_a_name_stood_for_stays_while_it_does_not_resolve() -> None:
    before = Model("m", "http://10.0.0.7:20000/v1", "k", "d")
    now = Model("m", "http://gpu-1:20000/v1", "k", "d")
    assert plan([], [before.id, "muster-other-1"], [now]) == Plan([], ["muster-other-1"])
    assert plan([], [before.id]) == Plan([], [before.id])
