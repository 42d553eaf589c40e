"""What was skipped is said at the end, once for each reason: a skip that nobody sees is a defect.

`--thorough` is for what is proven by numbers: 1,000 rounds of a race rather than 15. `make reliability` and CI set it.

`make test` uses all cores (pytest-xdist).
"""

from __future__ import annotations

from collections import Counter

import pytest
from xdist.scheduler import LoadScopeScheduling

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


def group(nodeid: str) -> str:
    file = nodeid.partition("::")[0].removeprefix("tests/")
    return "the machine" if file.startswith(THE_MACHINE) else file


class Together(LoadScopeScheduling):  # type: ignore[misc]
    """Tests of one file stay together, for the sake of their fixtures, and so do all that share the machine.

    xdist has marks for that (--dist loadgroup), which pytest 9.2 does not let it read: it ran everything anywhere.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Together:
    return Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest group first: the others are done meanwhile."""
    items.sort(key=lambda item: group(item.nodeid) != "the machine")


processes: set[str] = set()
"""Of the tests that are to stay in one."""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if group(report.nodeid) == "the machine":
        processes.add(getattr(report, "worker_id", ""))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if len(processes) > 1:
        raise pytest.UsageError(f"tests that share the machine ran beside each other, in {sorted(processes)}")


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
