"""What a profile's text concludes from py-spy's stacks."""

from __future__ import annotations

from bench.profiles import PATHS, Stack, function, owner, stacks, text

RAW = """\
run (threading.py:1);beat (chalicelib/routes/worker.py:3);call (moto/core.py:5);compile (re/__init__.py:9) 3
run (threading.py:1);beat (chalicelib/routes/worker.py:4) 1
"""


def test_a_line_is_a_stack_and_its_count() -> None:
    first, second = stacks(RAW)
    assert (len(first.frames), first.count) == (4, 3)
    assert second == Stack(("run (threading.py:1)", "beat (chalicelib/routes/worker.py:4)"), 1)


def test_the_owner_is_the_innermost_that_is_listed() -> None:
    first, second = stacks(RAW)
    assert (owner(first.frames), owner(second.frames), owner(["x (y.py:1)"])) == ("moto", "chalicelib", "other")


def test_lines_of_a_function_are_one() -> None:
    assert function("beat (chalicelib/routes/worker.py:4)") == "beat (chalicelib/routes/worker.py)"


def test_the_text_has_shares_by_owner_alone_and_with_callees() -> None:
    lines = text("A path", stacks(RAW)).splitlines()
    assert lines[:4] == ["A path", "4 samples", "By owner:", "  75.0 %  moto"]
    assert "  75.0 %  compile (re/__init__.py)" in lines and " 100.0 %  beat (chalicelib/routes/worker.py)" in lines


def test_a_function_that_calls_itself_counts_once() -> None:
    within = text("A path", [Stack(("a (x.py:1)", "a (x.py:2)"), 2)]).partition("Functions with")[2]
    assert " 100.0 %  a (x.py)" in within


def test_no_samples_are_no_profile() -> None:
    assert "no samples" in text("A path", [])


def test_the_five_paths() -> None:
    assert [path.name for path in PATHS] == ["heartbeat", "report", "list", "metrics", "deploy"]
