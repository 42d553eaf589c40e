"""Prometheus' text format, read back with Prometheus' own client library."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.telemetry import exposition
from chalicelib.telemetry.exposition import Family
from tests.fixtures.prometheus import samples_of

HOSTILE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), HOSTILE, max_size=3), st.floats(allow_nan=False))
def test_what_is_written_is_what_is_read(labels: dict[str, str], number: float) -> None:
    family = Family("muster_x", "gauge", "Anything.")
    family.add(number, **labels)
    assert samples_of(exposition.text([family])) == {("muster_x", frozenset(labels.items())): number}


def test_of_two_samples_with_the_same_labels_the_last_counts() -> None:
    family = Family("muster_x", "gauge", "Anything.")
    for value in (1, 2):
        family.add(value, worker="a", gpu="0")
    assert exposition.text([family]) == (
        '# HELP muster_x Anything.\n# TYPE muster_x gauge\nmuster_x{worker="a",gpu="0"} 2\n'
    )


def test_a_label_without_a_value_is_left_out() -> None:
    family = Family("muster_x", "gauge", "Anything.")
    family.add(1, worker=None, gpu="")
    assert exposition.text([family]).splitlines()[-1] == "muster_x 1"


def test_a_family_without_samples_is_still_described() -> None:
    assert exposition.text([Family("muster_x", "counter", "Anything.")]) == (
        "# HELP muster_x Anything.\n# TYPE muster_x counter\n"
    )
