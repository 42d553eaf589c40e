"""Which workers a gateway serves."""

from __future__ import annotations

import pytest

from chalicelib.gateways.selectors import accepts, parsed
from muster.api.errors import ApiError


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        (None, {}),
        ("", {}),
        ("site=lab", {"site": "lab"}),
        ("site=lab,gpu=h200", {"site": "lab", "gpu": "h200"}),
        ("note=a=b,", {"note": "a=b"}),
        ("site=", {"site": ""}),
    ],
)
def test_a_selector_is_labels(text: str | None, labels: dict[str, str]) -> None:
    assert parsed(text) == labels


@pytest.mark.parametrize("text", ["lab", "=lab", "site=lab,gpu", "site=lab, =x,y"])
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(ApiError, match="expected NAME=VALUE"):
        parsed(text)


def test_a_worker_has_all_labels_and_may_have_more() -> None:
    labels = {"site": "lab", "gpu": "h200"}
    assert accepts({}, labels) and accepts({"site": "lab"}, labels) and accepts(labels, labels)
    assert not accepts({"site": "rack"}, labels) and not accepts({**labels, "rack": "3"}, labels)
