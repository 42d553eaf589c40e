"""What was skipped is said at the end, once for each reason: a skip that nobody sees is a defect.

`--thorough` is for what is proven by numbers: 1,000 rounds of a race rather than 5. `make reliability` and CI set it.

`make test` uses all cores (pytest-xdist). Some tests run in a network of their process's own, in a parallel run or not.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tests.fixtures import environment, network

environment.normalize()
# No deadline, and no complaint about slow data: how long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("any machine")

pytest_plugins = [
    f"tests.fixtures.{name}"
    for name in """
        agent_and_app database docker_agent docker_engine hub_server serve served wheel wheelhouse
    """.split()
]

WITH_DOCKER = """
agent/engines/docker/test_daemon.py agent/engines/docker/test_docker_engine.py agent/engines/docker/test_images.py
agent/engines/docker/test_logs.py agent/engines/docker/test_prune.py infra/test_e2e_vllm.py
install/test_agent_image.py install/test_alone.py install/test_join.py install/test_server.py litellm
security/test_container.py
""".split()
"""Where this machine's Docker changes the host's network, and gives out its ports."""
WITH_A_DAEMON = """
agent/engines/docker/test_engine_gpus.py end_to_end/test_docker_agent.py end_to_end/test_docker_settings.py
end_to_end/test_full_host.py end_to_end/test_gpus.py end_to_end/test_pulls.py faults/test_docker.py
""".split()
"""Whose Docker daemon is their own, in their own network; they share it."""
WITH_AGENTS = """
bench/test_gateway_stack.py agent/engines/process agent/engines/test_ports.py agent/host compatibility console
end_to_end/test_openai_client.py end_to_end/test_processes.py
end_to_end/test_prometheus.py end_to_end/test_refused_reports.py faults infra/local infra/test_demo
infra/test_fake_vllm install/test_doctor.py muster/cli/test_processes.py networks security/test_secrets.py
""".split()
"""Where agents take ports for models, or a browser gives up on its pages when the network changes. Where a process can
have a network of its own, they may be beside others."""
MACHINE, DAEMON = "the machine", "a daemon"
FOLDERS = ["console", "infra/cloud", "compatibility"]
"""Whose tests share what takes long to make: a browser, an account with a packaged stage, an unpacked release."""


def group(nodeid: str) -> str:
    """What stays in one process: a file, for the sake of its fixtures, or more."""
    file = nodeid.partition("::")[0].removeprefix("tests/")
    apart = network.can_be_had()
    if file.startswith(tuple(WITH_DOCKER if apart else WITH_DOCKER + WITH_A_DAEMON + WITH_AGENTS)):
        return MACHINE
    if file.startswith(tuple(WITH_A_DAEMON)):
        return DAEMON
    return next((folder for folder in FOLDERS if file.startswith(folder)), file)


def has_its_own_network(nodeid: str) -> bool:
    return group(nodeid) == DAEMON or group(nodeid).startswith(tuple(WITH_AGENTS))


class Together(LoadScopeScheduling):  # type: ignore[misc]
    """xdist has marks for it (--dist loadgroup), which pytest 9.2 does not let it read: it ran everything anywhere."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Together:
    return Together(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores: what shares the machine mostly waits."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest groups first: the others are done meanwhile."""
    if config.getoption("--reversed"):
        items.reverse()
    if not config.getoption("--thorough"):
        for item in items:
            if item.nodeid.startswith("tests/simulation"):
                item.add_marker(pytest.mark.skip(reason="the simulator: make reliability, which CI runs"))
    order = [MACHINE, DAEMON, *FOLDERS]
    items.sort(key=lambda item: order.index(found) if (found := group(item.nodeid)) in order else len(order))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    network.NETWORKS.enter(own=has_its_own_network(item.nodeid))


processes: set[str] = set()
"""Of the tests that are to stay in one."""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if group(report.nodeid) == MACHINE:
        processes.add(getattr(report, "worker_id", ""))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if len(processes) > 1:
        raise pytest.UsageError(f"tests that share the machine ran beside each other, in {sorted(processes)}")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="as many rounds as docs/reliability.md promises")
    parser.addoption("--rounds", type=int, help="of each race, in place of 5, or of 1,000 with --thorough")
    parser.addoption("--reversed", action="store_true", help="the last test first: no test needs another before it")
    parser.addoption(
        "--embedded",
        action="store_true",
        help="the services' tests and the conformance suite run on the database of `make serve`, not on a faster one",
    )


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
