"""What was skipped is said at the end, once for each reason: a skip that nobody sees is a defect.

`--thorough` is for what is proven by numbers: 1,000 rounds of a race rather than 15. `make reliability` and CI set it.

`make test` uses all cores (pytest-xdist, --dist loadgroup). Tests of one file stay together, for the sake of their
fixtures, and so do all that share what a machine has once.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

THE_MACHINE = (
    "console",
    "engines",
    "faults",
    "gateway",
    "install",
    "local",
    "whole",
    "cli/test_processes.py",
    "security/test_container.py",
    "security/test_secrets.py",
)
"""Where agents take ports for models, Docker changes the network, and browsers give up on pages when it does."""


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in this hook of its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def where(item: pytest.Item) -> str:
        return item.path.relative_to(Path(__file__).parent).as_posix()

    for item in items:
        group = "the machine" if where(item).startswith(THE_MACHINE) else where(item)
        item.add_marker(pytest.mark.xdist_group(group))
    # The longest group first: the others are done meanwhile.
    items.sort(key=lambda item: not where(item).startswith(THE_MACHINE))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="as many rounds as docs/reliability.md promises")


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--thorough"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    reasons = Counter(_reason(report) for report in skipped)
    terminalreporter.section("NOT TESTED HERE", sep="!", yellow=True, bold=True)
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count} tests: {reason}", yellow=True)


def _reason(report: pytest.TestReport) -> str:
    longrepr = report.longrepr
    reason = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return reason.removeprefix("Skipped: ")
