"""What CloudWatch keeps: one JSON object a line, with nothing in it that somebody sent but ids of the right form.

Only Lambda writes like this; the local server's lines are for people (muster/serving/answers.py).
"""

from __future__ import annotations

import logging
import re
import sys
from contextvars import ContextVar
from typing import Any, TextIO

import msgspec

from chalicelib.store.times import when

REQUEST: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that is being answered, in every line that is written meanwhile."""
IDS = ("worker_id", "deployment_id", "command_id", "operation_id")
_ID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(-g[0-9]{1,15})?"
_CODE = r"[A-Z][A-Z0-9_]{0,63}"
LOG = logging.getLogger("muster.requests")
LOG.disabled = True  # until `write_json`: the local server has its own line for each request


class _Failure(msgspec.Struct):
    error_code: str = ""


class Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {"time": when(record.created), "level": record.levelname, "logger": record.name}
        line |= {"request_id": REQUEST.get(), "message": record.getMessage(), **getattr(record, "fields", {})}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode({name: value for name, value in line.items() if value is not None}).decode()


def write_json(stream: TextIO = sys.stdout) -> None:
    """From now on, in the place of what Lambda's runtime set up."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Json())
    logging.root.handlers = [handler]
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("muster").setLevel(logging.INFO)
    LOG.disabled = False


def answered(method: str, route: str | None, ids: dict[str, str], answer: dict[str, Any], seconds: float) -> None:
    """One line for a request. `route` is its template: a path may hold whatever somebody put there."""
    status = answer["statusCode"]
    fields = {"method": method, "route": route, "status": status, "milliseconds": round(1000 * seconds, 1)}
    fields |= {name: ids[name] for name in IDS if name in ids and re.fullmatch(_ID, ids[name])}
    if status >= 400:
        fields["error_code"] = _error_code(answer["body"])
    LOG.log(logging.ERROR if status == 500 else logging.INFO, "answered", extra={"fields": fields})


def _error_code(body: str) -> str | None:
    """A worker's own codes are among them, in whatever form it sent them."""
    try:
        code = msgspec.json.decode(body, type=_Failure).error_code
    except msgspec.DecodeError:
        return None
    return code if re.fullmatch(_CODE, code) else None
