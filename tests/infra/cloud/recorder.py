"""What the functions do in DynamoDB, seen at botocore's before-send: actions, and what they are done on.

    RECORDED=needs pytest tests/infra/cloud/coverage_driver.py -p tests.infra.cloud.recorder

RECORDED names the file that has a line for each: function, action, table. Whoever creates the tables, or looks at them
for a test, is no function; those calls do not count.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from botocore.awsrequest import AWSPreparedRequest
from botocore.handlers import BUILTIN_HANDLERS

from chalicelib.settings import TABLE_PREFIX

PLUMBING = {"store.py", "tables.py", "paging.py"}
"""Of chalicelib: tests use these as well, to look at what is stored."""
SWEEP = "liveness.py"
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
SEEN: set[Need] = set()


def record(request: AWSPreparedRequest, **_: Any) -> None:
    function = calling_function()
    if function is None:
        return
    target = request.headers["X-Amz-Target"]
    operation = (target.decode() if isinstance(target, bytes) else target).rpartition(".")[2]
    body = json.loads(request.body if isinstance(request.body, bytes | str) else b"{}")
    SEEN.update((function, action, on) for action, on in needs(operation, body))


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


def write() -> None:
    with Path(os.environ["RECORDED"]).open("a") as file:
        file.writelines(json.dumps(each) + "\n" for each in sorted(SEEN))


BUILTIN_HANDLERS.append(("before-send.dynamodb", record))
atexit.register(write)
