"""What a figure is, and how it is measured: subjects in turn, several rounds, so that all meet the same machine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from bench.samples import Samples
from bench.servers import NotMeasured

Say = Callable[[str], None]


@dataclass(frozen=True)
class Metric:
    """`better` is "more" or "less". `places`: decimals that are shown."""

    name: str
    unit: str
    better: str = "less"
    places: int = 1


@dataclass(frozen=True)
class Comparison:
    """A ratio that the report shows: `this` divided by `that`. With `cases`, each is a (case, subject)."""

    metric: str
    this: str
    that: str


@dataclass(frozen=True)
class Scale:
    """How much is measured: `quick` to try the benchmark itself."""

    rounds: int
    seconds: float
    workers: int
    quick: bool = False


FULL = Scale(rounds=5, seconds=4.0, workers=1000)
QUICK = Scale(rounds=2, seconds=0.5, workers=20, quick=True)


class Subject(ABC):
    """What a figure measures side by side with others: a server, a command, or a floor."""

    name: str

    def start(self, say: Say) -> None:  # noqa: B027  # nothing to do, for most
        """Make it ready to be measured. Raises NotMeasured where it cannot be measured here."""

    @abstractmethod
    def measure(self, case: str) -> dict[str, float]:
        """Measure a case once: a value for each metric, or for some. Raises NotMeasured for a case that it has not."""

    def stop(self) -> None:  # noqa: B027  # the same
        """End what `start` began; also after a failure."""


@dataclass(frozen=True)
class Figure:
    """One section of the report. Its first metric is plotted."""

    name: str
    title: str
    text: str
    cases: Sequence[str]
    metrics: Sequence[Metric]
    subjects: Sequence[Subject]
    comparisons: Sequence[Comparison] = ()
    unplotted: Sequence[str] = ()
    """Subjects that would make all other bars short."""


@dataclass(frozen=True)
class Outcome:
    figure: Figure
    samples: Samples
    missing: dict[str, str]
    """Subjects and cases that were not measured, and why."""


class Started:
    """Subjects while they are measured. Those that cannot be measured here are left out, with the reason."""

    def __init__(self, subjects: Sequence[Subject], say: Say) -> None:
        self._subjects, self._say = subjects, say
        self._started: list[Subject] = []
        self.missing: dict[str, str] = {}

    def __enter__(self) -> list[Subject]:
        running = []
        try:
            for subject in self._subjects:
                self._started.append(subject)
                try:
                    subject.start(self._say)
                except NotMeasured as reason:
                    self.missing[subject.name] = str(reason)
                    self._say(f"{subject.name}: not measured: {reason}")
                else:
                    running.append(subject)
        except BaseException:
            self._stop()
            raise
        return running

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def _stop(self) -> None:
        for subject in reversed(self._started):
            subject.stop()
        self._started = []


def turns(subjects: Sequence[Subject], number: int) -> list[Subject]:
    """The subjects in the order of a round: each round begins with another one, so that none is always first."""
    at = number % len(subjects) if subjects else 0
    return [*subjects[at:], *subjects[:at]]


def measure(figure: Figure, rounds: int, say: Say) -> Outcome:
    """All rounds of a figure: in each, every case, and in each case all subjects after one another."""
    samples, started = Samples(), Started(figure.subjects, say)
    with started as running:
        for number in range(rounds):
            for case in figure.cases:
                for subject in turns(running, number):
                    _once(subject, case, samples, started.missing)
                say(f"{figure.name}: round {number + 1} of {rounds}, {case}: {_line(figure, samples, case)}")
    return Outcome(figure, samples, started.missing)


def _once(subject: Subject, case: str, samples: Samples, missing: dict[str, str]) -> None:
    try:
        measured = subject.measure(case)
    except NotMeasured as reason:
        missing[f"{subject.name}, {case}"] = str(reason)
    else:
        samples.add(case, subject.name, measured)


def _line(figure: Figure, samples: Samples, case: str) -> str:
    """The last values of the first metric."""
    first = figure.metrics[0]
    values = {subject: samples.get(case, subject, first.name) for subject in samples.subjects()}
    return ", ".join(f"{subject} {given[-1]:,.{first.places}f}" for subject, given in values.items() if given)
