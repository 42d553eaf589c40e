"""Which package may import which, and the front door of each: the table of its modules in its docstring."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures import ROOT

ROOTS = {
    "app": ROOT / "app.py",
    "bench": ROOT / "bench",
    "chalicelib": ROOT / "chalicelib",
    "infra": ROOT / "infra",
    "muster": ROOT / "muster",
    "muster_agent": ROOT / "agent" / "muster_agent",
}
"""Where the names that are ours are imported from."""

CONTROL_PLANE = {
    "store": "",
    "fleet": "store",
    "auth": "fleet store",
    "scheduling": "fleet store",
    "operations": "fleet store",
    "deployments": "auth fleet scheduling store",
    "reconcile": "deployments fleet operations scheduling store",
    "workers": "auth deployments fleet gateways reconcile scheduling store",
    "telemetry": "deployments fleet scheduling store",
    "gateways": "auth deployments fleet scheduling store telemetry",
    "routes": "auth deployments fleet gateways operations reconcile store telemetry workers",
}
AGENT = {
    "conditions": "",
    "config": "",
    "signals": "",
    "host": "",
    "state": "conditions config",
    "control": "conditions host state",
    "engines": "host state",
    "gpus": "conditions engines host",
    "backends": "engines state",
    "logs": "engines state",
    "runner": "backends conditions config engines gpus host logs state",
    "operations": "backends engines host logs runner state",
    "tunnel": "config control engines runner",
    "wiring": "control engines logs operations runner state",
    "commands": "operations state wiring",
    "heartbeat": "commands control host operations runner state wiring",
    "doctor": "config engines gpus host state",
}
"""Each room, and the rooms that it may import. `main`, the agent's entry, imports all of them."""
ENGINES = {
    "base": "",
    "labels": "base",
    "log_lines": "base",
    "ports": "base",
    "docker": "base labels log_lines ports",
    "process": "base labels log_lines ports",
}
CLIENT = {
    "api": "",
    "files": "",
    "sanitize": "",
    "diagnostics": "api",
    "exceptions": "api",
    "extras": "api",
    "http": "api",
    "litellm": "api http",
    "direct": "api exceptions",
    "session": "direct exceptions http",
    "transport": "api direct exceptions session",
    "client": "api exceptions transport",
    "model_http": "",
    "serving": "api",
    "tunnel": "api",
    "gateway": "api files http model_http sanitize serving tunnel",
    "cli": "api client diagnostics exceptions extras gateway litellm",
}
MACHINES = {
    "client_docs": "",
    "demo_stage": "",
    "fake_vllm": "",
    "fake_vllm_image": "",
    "oldest_python": "",
    "release": "",
    "tiny_model": "",
    "vendor": "",
    "wheelhouse": "",
    "wheelhouse_lock": "wheelhouse",
    "cloud": "wheelhouse",
    "local": "wheelhouse",
    "chalice_hooks": "cloud local",
    "demo_api": "demo_stage",
    "demo": "demo_api demo_stage",
    "e2e_checks": "demo demo_api demo_stage",
    "e2e_vllm": "demo demo_stage e2e_checks",
    "measure_agent": "demo demo_api demo_stage fake_vllm_image",
}
MEASUREMENTS = {
    "bare_http": "",
    "bare_relay": "",
    "bare_sqlite": "",
    "fastapi_server": "",
    "host": "",
    "idle_tunnels": "",
    "load": "",
    "samples": "",
    "servers": "",
    "stream_load": "load",
    "token_model": "",
    "gateway_stack": "servers",
    "figure": "samples servers",
    "worktree": "servers",
    "peers": "figure servers",
    "profiles": "load servers",
    "soak": "servers",
    "figures": "figure gateway_stack load peers servers stream_load",
    "plots": "figure samples",
    "report": "figure samples",
}
DIRECTIONS = {
    "bench": MEASUREMENTS,
    "chalicelib": CONTROL_PLANE,
    "infra": MACHINES,
    "muster": CLIENT,
    "muster_agent": AGENT,
    "muster_agent.engines": ENGINES,
}

OURS = {
    "app": {"chalicelib"},
    "bench": set[str](),
    "chalicelib": {"muster.api"},
    "muster": set[str](),
    "muster_agent": {
        "muster.api",
        "muster.diagnostics",
        "muster.extras",
        "muster.files",
        "muster.http",
        "muster.model_http",
        "muster.sanitize",
        "muster.tunnel",
    },
}
"""What of our own packages each may import, beside itself. Lambda gets of `muster` no more than `muster.api`."""
OF_OTHERS = {
    "app": {"chalice"},
    "bench": {"fastapi", "h2", "websockets", "matplotlib", "psutil", "pydantic", "sqlalchemy"},
    "chalicelib": {"botocore", "chalice", "msgspec", "pynamodb"},
    "muster_agent": {"click", "docker", "msgspec", "psutil", "pynvml", "requests", "urllib3", "websockets"},
}
"""What else may be imported: the control plane pays for each of these with every cold start."""
ONE_IMPORTER = {
    "docker": "muster_agent.engines.docker",
    "psutil": "muster_agent.host.facts",
    "pynvml": "muster_agent.gpus",
}


def modules(root: str) -> Iterator[tuple[str, Path]]:
    where = ROOTS[root]
    if where.is_file():
        yield root, where
        return
    for path in sorted(where.rglob("*.py")):
        parts = path.relative_to(where).with_suffix("").parts
        yield ".".join((root, *(part for part in parts if part != "__init__"))), path


def imported(path: Path) -> set[str]:
    """The full names that a file imports, also inside its functions: for `from a import b` it is `a.b`."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None, f"{path}: imports by absolute names alone"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(name: str, package: str) -> str:
    """The part of `package` that has the module `name`; "" for the package itself, and for modules elsewhere."""
    return name.removeprefix(f"{package}.").partition(".")[0] if name.startswith(f"{package}.") else ""


def inside(package: str) -> Iterator[tuple[str, Path]]:
    """The rooms of a package, each with the path of one of its modules."""
    for name, path in modules(package.partition(".")[0]):
        if found := room(name, package):
            yield found, path


@pytest.mark.parametrize(
    ("package", "name"), [(package, name) for package, directions in DIRECTIONS.items() for name in directions]
)
def test_a_room_imports_only_the_rooms_below_it(package: str, name: str) -> None:
    targets = {room(target, package) for found, path in inside(package) if found == name for target in imported(path)}
    assert targets - {"", name} == set(DIRECTIONS[package][name].split())


@pytest.mark.parametrize("package", DIRECTIONS)
def test_every_room_has_a_direction_and_none_leads_round_in_a_circle(package: str) -> None:
    directions = {name: set(targets.split()) for name, targets in DIRECTIONS[package].items()}
    assert set(directions) == {name for name, path in inside(package)} - {"main", "__main__"}
    while directions:
        lowest = {name for name, targets in directions.items() if not targets & directions.keys()}
        assert lowest, f"a circle: {directions}"
        directions = {name: targets for name, targets in directions.items() if name not in lowest}


@pytest.mark.parametrize("root", OURS)
def test_a_package_imports_of_ours_what_it_may(root: str) -> None:
    for name, path in modules(root):
        for target in imported(path):
            if target.partition(".")[0] in ROOTS.keys() - {root}:
                assert any(target == allowed or target.startswith(f"{allowed}.") for allowed in OURS[root]), (
                    f"{name}: {target}"
                )


@pytest.mark.parametrize("root", OF_OTHERS)
def test_a_package_imports_of_others_what_it_may(root: str) -> None:
    used = {target.partition(".")[0] for name, path in modules(root) for target in imported(path)}
    assert used - set(sys.stdlib_module_names) - ROOTS.keys() == OF_OTHERS[root]


def test_the_wire_imports_nothing_but_msgspec_and_itself() -> None:
    """Both artifacts carry it: the Lambda function, and the wheel for hosts."""
    wire = [(name, path) for name, path in modules("muster") if f"{name}.".startswith("muster.api.")]
    found = {target for name, path in wire for target in imported(path) if not target.startswith("muster.api.")}
    assert {target.partition(".")[0] for target in found} - set(sys.stdlib_module_names) == {
        "msgspec",
        "typing_extensions",  # for type checkers alone
    }


def test_operators_need_neither_a_control_plane_nor_an_engine() -> None:
    used = {target.partition(".")[0] for name, path in modules("muster") for target in imported(path)}
    libraries = {"click", "msgspec", "requests", "rich", "typing_extensions", "urllib3", "yaml"}
    libraries |= {"h2", "httptools", "prometheus_client", "uvicorn"}  # of gateways
    assert used - set(sys.stdlib_module_names) == libraries | {"muster"}


@pytest.mark.parametrize(("library", "owner"), ONE_IMPORTER.items())
def test_one_place_knows_the_library(library: str, owner: str) -> None:
    importers = {
        name
        for root in ROOTS
        for name, path in modules(root)
        for target in imported(path)
        if target.partition(".")[0] == library and root not in ("bench", "infra")
    }
    assert importers and all(name == owner or name.startswith(f"{owner}.") for name in importers)


def front_doors() -> list[Path]:
    found = (path for root in ROOTS for _, path in modules(root) if path.name == "__init__.py")
    return [path for path in found if len(list(path.parent.glob("*.py"))) > 1]


@pytest.mark.parametrize("path", front_doors(), ids=lambda path: str(path.parent.relative_to(ROOT)))
def test_a_package_has_a_table_of_what_its_modules_own(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    rows = re.findall(r"^\|((?: ?`\w+`,?)+) \|", docstring, re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    there = {entry.stem for entry in path.parent.iterdir() if entry.suffix == ".py"}
    there |= {entry.parent.name for entry in path.parent.glob("*/__init__.py")}
    assert sorted(set(listed)) == sorted(listed), "each module once"
    assert set(listed) >= there - {"__init__", "__main__"}, f"not in the table: {sorted(there - set(listed))}"
