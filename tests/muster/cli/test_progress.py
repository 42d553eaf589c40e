"""How far something is, in words and as a share; and which deployments wait in a crash loop."""

from __future__ import annotations

from muster.api import messages as m
from muster.cli.progress import how_far, share_of, waits_in_loop
from tests.fixtures.resources import deployment


def test_progress_is_shown_in_units_of_its_phase() -> None:
    pull = m.Progress("downloading", 4_831_838_208, 15_000_000_000, 32.2, 104_857_600)
    assert how_far(pull) == "downloading 4.8 GB of 15.0 GB, 32 %, 104.9 MB/s"
    assert how_far(m.Progress("loading", 1, 4)) == "loading 1 of 4, 25 %"
    assert how_far(m.Progress("compiling")) == "compiling"
    assert share_of(m.Progress("downloading", 3, 0)) is None


def test_a_deployment_waits_in_a_crash_loop_between_two_starts() -> None:
    waits, starts = m.CrashLoop("X", 3, 40), m.CrashLoop("X", 3, None)
    assert waits_in_loop(deployment(status="starting", crash_loop=waits))
    assert not waits_in_loop(deployment(status="starting", crash_loop=starts))
    assert not waits_in_loop(deployment(status="stopping", crash_loop=waits))
    assert not waits_in_loop(deployment(status="starting"))
