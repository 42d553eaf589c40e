"""A pull's layers as one number."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.engines.docker.progress import PullProgress
from chalicelib.contract.messages import Progress

STATUSES = ("Pulling fs layer", "Waiting", "Downloading", "Verifying Checksum", "Download complete", "Extracting")
EVENTS = st.fixed_dictionaries(
    {"status": st.sampled_from((*STATUSES, "Pull complete", "Already exists", "Retrying in 3 seconds"))},
    optional={
        "id": st.sampled_from("abcd"),
        "progressDetail": st.just({})
        | st.fixed_dictionaries({"current": st.integers(0, 999), "total": st.integers(0, 999)}),
    },
)


def event(layer: str, status: str, current: int = 0, total: int = 0) -> dict[str, Any]:
    return {"id": layer, "status": status, "progressDetail": {"current": current, "total": total}}


@given(st.lists(EVENTS))
def test_it_never_runs_backwards_or_past_the_end(events: list[dict[str, Any]]) -> None:
    progress = PullProgress()
    last = Progress("", 0, 0)
    for each in events:
        if news := progress.see(each):
            assert news.current is not None and news.total is not None
            assert last.current is not None and last.total is not None
            assert 0 <= news.current <= news.total
            assert news.current >= last.current
            assert news.current * max(last.total, 1) >= last.current * news.total
            last = news


def test_download_and_extraction_both_count() -> None:
    progress = PullProgress()
    told = [
        progress.see(each)
        for each in (
            {"status": "Pulling from library/x", "id": "latest"},
            event("a", "Pulling fs layer"),
            event("b", "Pulling fs layer"),
            event("a", "Downloading", 50, 100),
            event("a", "Download complete"),
            event("b", "Downloading", 100, 100),
            event("b", "Download complete"),
            event("a", "Extracting", 100, 100),
            event("a", "Pull complete"),
            event("b", "Pull complete"),
            {"status": "Digest: sha256:0"},
        )
    ]
    seen = [(each.phase, each.current, each.total) for each in told if each]
    assert seen == [
        ("downloading", 0, 0),
        ("downloading", 50, 400),
        ("downloading", 100, 400),
        ("downloading", 200, 400),
        ("extracting", 200, 400),
        ("extracting", 300, 400),
        ("extracting", 400, 400),
    ]
