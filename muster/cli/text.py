"""Words and figures for people; and nothing from outside reaches a terminal that could steer it.

Names, messages and logs are written by whoever made them. An escape sequence in one could rewrite what is on the screen
or type for the operator, so `clean` is asked wherever one is shown.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import msgspec

_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
_HOSTILE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and newline, ESC among them
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what makes text run the other way
    r"\u2028\u2029\ufeff\ud800-\udfff]"
)


def clean(text: str) -> str:
    """Text of several lines. Colours go; every other character that is not for reading is shown by its number."""
    return _HOSTILE.sub(_number, _COLOURS.sub("", text.replace("\r\n", "\n")))


def line(text: str) -> str:
    """The same, on one line."""
    return clean(text).replace("\n", " ⏎ ").replace("\t", " ")


def _number(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def escaped_json(encoded: str) -> str:
    """JSON with the same characters as JSON writes them, so that it still says what it said."""
    return _HOSTILE.sub(lambda found: found[0] if found[0] in "\n" else f"\\u{ord(found[0]):04x}", encoded)


def size(count: float) -> str:
    """Bytes, in units of a thousand as disks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit in ("B", "kB") else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def memory(count: float) -> str:
    """Bytes of a GPU, in the units of its makers."""
    return f"{count / 2**30:.1f} GiB"


def memory_if_known(count: float | None) -> str | None:
    """The same; None, which a table shows as "-", where it is unknown."""
    return None if count is None else memory(count)


def memory_of(used: float | None, total: float | None) -> str | None:
    """How much of a GPU's memory is in use; None where neither figure is known."""
    if used is None and total is None:
        return None
    return f"{memory_if_known(used) or 'unknown'} of {memory_if_known(total) or 'unknown'}"


def percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0f} %"


def duration(seconds: float) -> str:
    """The largest unit only: 40s, 12m, 3h, 5d."""
    seconds = max(0, int(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def ago(at: datetime, now: datetime) -> str:
    return duration((now - at).total_seconds())


def seconds(text: str) -> float | None:
    """What `90`, `90s`, `10m`, `2h` or `3d` is in seconds; None if it is none of these."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)", text)
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]] if found else None


def before(now: datetime, text: str) -> str | None:
    """A point in time as the API takes it: `10m` is ten minutes before `now`. None for what is no time.

    A time is RFC 3339, as workers read it. The forms that `datetime.fromisoformat` takes depend on Python's version.
    """
    back = seconds(text) if text[-1:] in "smhd" else None
    if back is not None:
        return (now - timedelta(seconds=back)).isoformat().replace("+00:00", "Z")
    try:
        msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return None
    return text
