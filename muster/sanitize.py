"""What others wrote, as it may stand on a terminal or in a log: names, messages and models' output come from anywhere.

Whatever moves the cursor, colors, ends a line or turns the direction of writing is written out as its number. That is
done where text is shown and nowhere before: JSON carries such characters safely, and a log is to be read as it was.
"""

from __future__ import annotations

import logging
import re
from types import TracebackType
from typing import TextIO

_Error = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # controls, C1 among them, which some terminals obey
    "\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"  # ends of lines, directions, and what has no width
    "\ud800-\udfff]"
)


def escape_control_characters(text: str) -> str:
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class Formatter(logging.Formatter):
    """One record begins one line, which nothing in it can end; what follows of a traceback is indented."""

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # a traceback is kept as another handler wrote it
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = escape_control_characters(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: _Error) -> str:
        return "\n".join(f"    {escape_control_characters(line)}" for line in super().formatException(ei).split("\n"))


def log_to(stream: TextIO, form: str) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter(form))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
