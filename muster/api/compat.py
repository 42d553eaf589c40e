"""What Python 3.10 lacks of the standard library, which agents, the client, and the command line use.

The wire types use it too, and they import nothing of `muster` but `muster.api`, so the module lives here.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if sys.version_info >= (3, 11):
    from enum import StrEnum  # novermin
    from typing import Unpack  # novermin
else:
    from enum import Enum

    class StrEnum(str, Enum):
        """An enumeration whose members are text in every respect: compared, printed, and formatted."""

        __str__ = str.__str__

        @staticmethod
        def _generate_next_value_(name: str, start: int, count: int, last_values: list[str]) -> str:
            return name.lower()

    if TYPE_CHECKING:
        from typing_extensions import Unpack
    else:

        class Unpack:
            """In annotations only, for type checkers: `**values: Unpack[SomeTypedDict]`."""

            def __class_getitem__(cls, item: type) -> type:
                return item


__all__ = ["StrEnum", "Unpack"]
