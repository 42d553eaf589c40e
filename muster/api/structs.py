"""Structs of the process and of the wire.

msgspec reads what a struct's fields are when it is first used, and two threads that do so at once crash the process
(0.22.0, with SIGSEGV). So whoever starts threads has all structs of the wire read before.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from msgspec.json import Decoder


class Value(Struct, frozen=True):
    """Immutable data inside of the process, which nothing encodes or decodes.

    A dataclass would do, but the methods of each are compiled when its module is imported: half a millisecond of every
    cold start (docs/adr/0044).
    """


class State(Struct):
    """The same, where the data changes."""


def read_structs() -> None:
    """Every one that is imported by now, with whatever it is made of."""
    for struct in _below(Struct):
        Decoder(struct)


def _below(kind: type[Struct]) -> Iterator[type[Struct]]:
    for struct in kind.__subclasses__():
        if struct not in (Value, State):
            yield struct
            yield from _below(struct)
