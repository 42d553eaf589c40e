"""The optional parts of the distribution, and what a program says where its part is not installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from muster.api.version import DISTRIBUTION

EXTRAS = {
    "cli": ("click", "rich", "yaml"),
    "agent": ("click", "docker", "h2", "httptools", "psutil", "pynvml", "websockets"),
    "gateway": ("click", "h2", "httptools", "prometheus_client", "rich", "uvicorn", "websockets"),
}
"""The modules that each extra brings, besides those that every installation has: msgspec and requests."""


@contextmanager
def needed(extra: str, program: str) -> Iterator[None]:
    """End the process with code 1 and the command that mends it, if an import inside lacks a module of this extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRAS[extra]:
            raise
        print(f"{program}: {missing} is not installed: pip install '{DISTRIBUTION}[{extra}]'", file=sys.stderr)
        sys.exit(1)
