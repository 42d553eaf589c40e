"""The page of the Python client: taken from docstrings part by part, written, and compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import muster
from infra import client_docs
from infra.client_docs import Docstring, documented, errors, main, methods, outline, page, parse, signature, types

TEXT = """Do it.

More of it.

Args:
    first: Seconds
        to wait.
    second: `a: b`.

Returns:
    `Worker`: The
    worker.

Raises:
    NotFound: `WORKER_NOT_FOUND`: no such
        worker.

Example:
    for each in ():
        print(each)
"""


def test_a_docstring_is_taken_apart() -> None:
    assert parse(TEXT) == Docstring(
        "Do it.\n\nMore of it.",
        {"first": "Seconds to wait.", "second": "`a: b`."},
        "`Worker`: The worker.",
        {"NotFound": "`WORKER_NOT_FOUND`: no such worker."},
        "for each in ():\n    print(each)",
    )
    assert parse("Do it.") == Docstring("Do it.")


def test_a_signature_has_the_exported_names() -> None:
    assert signature("worker") == "client.worker(worker_id: str) -> Worker"
    assert signature("url") == "client.url -> str"
    assert signature("events") == "client.events(*, deployment_id: str = ..., worker_id: str = ...) -> Iterator[Event]"
    lines = signature("deployment_logs").splitlines()
    assert lines[0] == "client.deployment_logs(" and lines[-1] == ") -> Logs"
    assert "    watch: Watch | None = None," in lines and lines.count("    *,") == 1
    assert "    session: requests.Session | None = None," in signature("__init__").splitlines()


def test_an_outline_has_fields_with_plain_types_and_defaults() -> None:
    assert outline("PruneRequest").splitlines()[:2] == ["class PruneRequest:", "    images: bool = False"]
    assert "    labels: dict[str, str] | UnsetType = UNSET" in outline("WorkerPatch").splitlines()
    assert "    gpus: int | list[int] = 1" in outline("NewDeployment").splitlines()
    assert "    config: dict[str, Any] = {}" in outline("NewDeployment").splitlines()
    assert '    RUNNING = "running"' in outline("Status").splitlines()
    assert outline("Role") == 'Role = Literal["viewer", "operator", "admin", "gateway", "caller"]'
    assert outline("Watch") == "Watch = Callable[[Accepted | Operation], None]"
    assert outline("About").startswith("class About(TypedDict):")
    assert "    now: Callable[[], float] = ..." in outline("Clock").splitlines()


def test_methods_are_grouped_by_the_comments_above_them() -> None:
    groups = methods()
    assert "" not in groups and "How" not in groups
    assert groups["Workers"] == ["workers", "worker", "change_worker", "remove_worker", "lose_worker"]


def test_base_classes_of_errors_come_first_and_errors_are_no_types() -> None:
    assert errors()[0] == "MusterError" and errors().index("Unreachable") < errors().index("TimedOut")
    assert set(errors()) & set(types()) == set() and "Worker" in types()


def test_names_in_backticks_are_links() -> None:
    assert "Returns: [`WhoAmI`](#whoami): The name and the role." in page()
    assert documented("whoami").returns == "`WhoAmI`: The name and the role."


def test_a_type_without_a_docstring_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        pass

    monkeypatch.setitem(vars(muster), "Bare", Bare)
    with pytest.raises(AssertionError, match=r"muster\.Bare has no docstring"):
        client_docs._docstring("Bare")


def test_a_page_that_is_out_of_date_is_refused_with_the_command_and_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "client.md"
    path.write_text("old")
    refused = CliRunner().invoke(main, ["--check"], obj=path)
    assert refused.exit_code == 1 and "client.md is out of date: run `make docs`" in refused.output
    assert path.read_text() == "old"
    assert CliRunner().invoke(main, [], obj=path).exit_code == 0
    assert path.read_text() == page()
    assert CliRunner().invoke(main, ["--check"], obj=path).exit_code == 0
