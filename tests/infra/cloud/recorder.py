"""What the functions do in DynamoDB: actions, and what they are done on, by the stack of each call to the database.

Whoever creates the tables, or looks at them for a test, is no function; those calls do not count.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chalicelib.store.settings import TABLE_PREFIX
from tests.fixtures.database import Recorder

PLUMBING = {"store/items.py", "store/tables.py", "store/paging.py"}
"""Of chalicelib: tests use these as well, to look at what is stored."""
SWEEP = "workers/liveness.py"
"""Its threads have nothing of the function that started them on their stacks."""
SERVICES = str(Path(__file__).resolve().parents[3] / "chalicelib") + "/"
IN_A_TRANSACTION = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
    "Get": "GetItem",
}

Need = tuple[str, str, str]
"""Function, action, and the table without its prefix, or one of its indexes."""


class Listener:
    """Notes which function makes each call that reaches the database from now on."""

    def __init__(self, database: Recorder) -> None:
        self._database, self._functions = database, list[str | None]()
        self._calls = database.calls
        assert not self._calls, "calls were made before"
        database.overtake = (0, self)

    def __call__(self) -> None:
        self._functions.append(calling_function())
        self._database.overtake = (0, self)

    @property
    def needs(self) -> set[Need]:
        return {
            (function, action, on)
            for function, (operation, body) in zip(self._functions, self._calls, strict=True)
            if function is not None
            for action, on in needs(operation, body)
        }


def needs(operation: str, body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The actions that IAM asks for, each with what it is asked for on."""
    if operation.startswith("Transact"):
        for item in body["TransactItems"]:
            for kind, each in item.items():
                yield IN_A_TRANSACTION[kind], _resource(each)
    elif operation.startswith("Batch"):
        for table in body["RequestItems"]:
            yield operation, _resource({"TableName": table})
    else:
        yield operation, _resource(body)


def _resource(names: dict[str, Any]) -> str:
    table = str(names["TableName"]).removeprefix(TABLE_PREFIX)
    return f"{table}/index/{names['IndexName']}" if "IndexName" in names else table


def calling_function() -> str | None:
    """By chalice's name; None where no service is on the way here."""
    found, frame = None, sys._getframe(1)
    while frame := frame.f_back:  # type: ignore[assignment]
        code = frame.f_code
        if not code.co_filename.startswith(SERVICES):
            continue
        if code.co_name == "create_tables":
            return None
        file = code.co_filename.removeprefix(SERVICES)
        if file == SWEEP:
            return "expire"
        if file not in PLUMBING:
            found = "api_handler"
    return found
