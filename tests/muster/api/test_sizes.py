"""What goes into one item is cut to what an item takes."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from muster.api.sizes import fitting


@given(st.lists(st.text(max_size=20), max_size=20), st.integers(2, 200))
def test_the_longest_beginning_that_fits_is_kept(values: list[str], limit: int) -> None:
    kept = fitting(values, limit)
    assert kept == values[: len(kept)]
    assert len(msgspec.json.encode(kept)) <= limit
    if len(kept) < len(values):
        assert len(msgspec.json.encode(values[: len(kept) + 1])) > limit
