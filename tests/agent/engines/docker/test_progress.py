"""A pull's layers as one number."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from muster.api.messages import Progress
from muster_agent.engines.docker.progress import PullProgress

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
    progress = PullProgress(0.0)
    last = Progress("", 0, 0, 0)
    for now, each in enumerate(events):
        if news := progress.see(each, now):
            assert news.percent is not None and last.percent is not None
            assert 0 <= last.percent <= news.percent <= 100
            assert news.current is not None and news.total is not None
            assert last.current is not None and last.total is not None
            assert 0 <= news.current <= news.total
            assert news.current >= last.current
            last = news


def test_download_and_extraction_both_count() -> None:
    progress = PullProgress(0.0)
    told = [
        progress.see(each, 0.0)
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
    seen = [(each.phase, each.current, each.total, each.percent) for each in told if each]
    assert seen == [
        ("downloading", 0, 0, 0.0),
        ("downloading", 25, 200, 12.5),
        ("downloading", 50, 200, 25.0),
        ("downloading", 100, 200, 50.0),
        ("extracting", 100, 200, 50.0),
        ("extracting", 150, 200, 75.0),
        ("extracting", 200, 200, 100.0),
    ]


def test_the_rate_is_that_of_the_last_seconds() -> None:
    progress = PullProgress(0.0)
    rates = []
    for now in range(1, 41):
        moved = now * 10 if now <= 20 else 200 + (now - 20) * 2
        if news := progress.see(event("a", "Downloading", moved, 1000), float(now)):
            rates.append(news.rate)
    assert (rates[0], rates[-1]) == (10, 2)


def test_only_what_comes_closer_to_its_end_is_growth() -> None:
    progress = PullProgress(0.0)
    progress.see(event("a", "Downloading", 50, 100), 1.0)
    for now in range(2, 100):
        progress.see(event("a", "Downloading", 50, 100), float(now))
        progress.see(event("a", "Retrying in 5 seconds"), float(now))
    assert progress.grew_at == 1.0
    progress.see(event("a", "Verifying Checksum"), 100.0)
    assert progress.grew_at == 100.0
    progress.see(event("a", "Pull complete"), 101.0)
    assert progress.grew_at == 101.0


def test_what_stands_still_says_so() -> None:
    progress = PullProgress(0.0)
    assert progress.idle(1.0) is None, "nothing is known yet"
    progress.see(event("a", "Downloading", 50, 100), 1.0)
    told = [news for now in range(2, 60) if (news := progress.idle(float(now)))]
    assert {(each.current, each.total) for each in told} == {(25, 100)}
    assert told[-1].rate == 0
    assert len(told) <= 12
