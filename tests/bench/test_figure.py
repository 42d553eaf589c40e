"""How subjects take turns."""

from __future__ import annotations

import pytest

from bench.figure import Figure, Metric, Say, Started, Subject, measure, turns
from bench.servers import NotMeasured


class Recorded(Subject):
    """A subject that writes down what is done with it."""

    def __init__(self, name: str, diary: list[str], fails: str = "") -> None:
        self.name, self._diary, self._fails = name, diary, fails

    def start(self, say: Say) -> None:
        self._diary.append(f"start {self.name}")
        if self._fails == "start":
            raise NotMeasured("it is not here")
        if self._fails == "crash":
            raise RuntimeError("crashed")

    def measure(self, case: str) -> dict[str, float]:
        self._diary.append(f"{self.name} {case}")
        if self._fails == case:
            raise NotMeasured("it has no such case")
        return {"rate": 1.0}

    def stop(self) -> None:
        self._diary.append(f"stop {self.name}")


def figure(*subjects: Subject) -> Figure:
    return Figure("rates", "Rates", "", ["8", "32"], [Metric("rate", "1/s")], subjects)


def silent(text: str) -> None:
    """Progress that nobody reads."""


def test_subjects_are_measured_in_turn_and_each_round_begins_with_another_one() -> None:
    diary: list[str] = []
    measure(figure(Recorded("a", diary), Recorded("b", diary)), 2, silent)
    assert diary[2:-2] == ["a 8", "b 8", "a 32", "b 32", "b 8", "a 8", "b 32", "a 32"]


def test_all_are_started_before_and_stopped_after_the_rounds() -> None:
    diary: list[str] = []
    measure(figure(Recorded("a", diary), Recorded("b", diary)), 1, silent)
    assert diary[:2] == ["start a", "start b"] and diary[-2:] == ["stop b", "stop a"]


def test_who_is_not_here_is_left_out_with_the_reason() -> None:
    diary: list[str] = []
    outcome = measure(figure(Recorded("a", diary, "start"), Recorded("b", diary)), 1, silent)
    assert outcome.missing == {"a": "it is not here"} and outcome.samples.subjects() == ["b"]
    assert "a 8" not in diary


def test_a_case_that_a_subject_has_not_is_left_out_with_the_reason() -> None:
    outcome = measure(figure(Recorded("a", [], "32"), Recorded("b", [])), 1, silent)
    assert outcome.missing == {"a, 32": "it has no such case"}
    assert outcome.samples.get("8", "a", "rate") == [1.0] and outcome.samples.get("32", "b", "rate") == [1.0]


def test_a_start_that_fails_stops_what_was_started_before() -> None:
    diary: list[str] = []
    started = Started([Recorded("a", diary), Recorded("b", diary, "crash")], silent)
    with pytest.raises(RuntimeError, match="crashed"), started:
        pass
    assert diary[-2:] == ["stop b", "stop a"]


def test_the_order_of_a_round() -> None:
    subjects = [Recorded(name, []) for name in "abc"]
    assert ["".join(subject.name for subject in turns(subjects, number)) for number in range(4)] == [
        "abc",
        "bca",
        "cab",
        "abc",
    ]
    assert turns([], 1) == []


def test_progress_names_the_round_and_the_values() -> None:
    said: list[str] = []
    measure(figure(Recorded("a", [])), 1, said.append)
    assert said == ["rates: round 1 of 1, 8: a 1.0", "rates: round 1 of 1, 32: a 1.0"]
