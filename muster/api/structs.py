"""msgspec reads what a struct's fields are when it is first used, and two threads that do so at once crash the process
(0.22.0, with SIGSEGV). So whoever starts threads has all structs read before.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from msgspec.json import Decoder


def read_structs() -> None:
    """Every one that is imported by now, with whatever it is made of."""
    for struct in _below(Struct):
        Decoder(struct)


def _below(kind: type[Struct]) -> Iterator[type[Struct]]:
    for struct in kind.__subclasses__():
        yield struct
        yield from _below(struct)
