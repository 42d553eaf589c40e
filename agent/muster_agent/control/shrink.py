"""Smaller versions of a report or result, for a network that refuses large request bodies.

The status matters more than its log, so what is least needed goes first. Every version has the same place in the order
of reports: the control plane takes whichever arrives first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from muster.api.messages import brief

MESSAGE_CHARACTERS = 200
"""Characters of a message that a smaller version keeps."""
LOG_TAIL_CHARACTERS = (16 * 1024, 1024)
"""Characters of the output of `container_logs` that smaller versions keep, from its end."""
ESSENTIAL_FIELDS = frozenset(
    {"status", "generation", "sequence", "error_code", "container_id", "port", "restarts", "crash_loop"}
)
LISTING_FIELDS = frozenset({"images", "containers", "models"})
"""Outputs that are lists of what is there: a part of one would be wrong."""

Body = dict[str, Any]


def versions(kind: Literal["status", "result"], body: Body) -> list[Body]:
    """`body`, and then ever smaller versions of it; each differs from the one before."""
    made = [body]
    for version in _of_report(body) if kind == "status" else _of_result(body):
        if version != made[-1]:
            made.append(version)
    return made


def _of_report(body: Body) -> Iterator[Body]:
    """Without the log, then with the head of the message, then with nothing but the status."""
    without_logs = {name: value for name, value in body.items() if name != "logs"}
    yield without_logs
    yield _with_short_message(without_logs)
    yield {name: value for name, value in body.items() if name in ESSENTIAL_FIELDS}


def _of_result(body: Body) -> Iterator[Body]:
    """An action that succeeded stays a success; a read whose output does not arrive has failed."""
    output = body.get("output") or {}
    short = _with_short_message({name: value for name, value in body.items() if name != "progress"})
    if "logs" in output:
        for characters in LOG_TAIL_CHARACTERS:
            if len(output["logs"]) > characters:
                yield short | {"output": output | {"logs": output["logs"][-characters:], "truncated": True}}
    elif body["status"] == "succeeded" and not LISTING_FIELDS & output.keys():
        yield short | {"output": {name: [] if isinstance(value, list) else value for name, value in output.items()}}
    else:
        yield short
    if "logs" in output or LISTING_FIELDS & output.keys():
        yield {
            "status": "failed",
            "error_code": "RESULT_TOO_LARGE",
            "message": "The operation succeeded, but something between this worker and the control plane refuses its"
            " output. Ask for less, or allow request bodies of 1 MiB there",
        }


def _with_short_message(body: Body) -> Body:
    return body | {"message": brief(body["message"], MESSAGE_CHARACTERS)} if body.get("message") else body
