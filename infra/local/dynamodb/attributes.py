"""Attribute values: which ones DynamoDB takes, in which form it keeps them, how they compare, and how large they are.

An attribute is a dictionary of its type and its value, as botocore has it: {"S": "text"}, {"N": "1.5"}, {"B": b"..."}.
In canonical form equal values are equal dictionaries: numbers are written in one way, and sets are sorted. All stored
attributes are canonical. No attribute is ever changed in place.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, Inexact, InvalidOperation
from functools import lru_cache
from typing import Any

from infra.local.dynamodb.refusals import Refused, invalid, invalid_parameter

Attribute = dict[str, Any]
Item = dict[str, Attribute]

MAX_ITEM_BYTES = 400 * 1024
MAX_DIGITS = 38
MAX_DEPTH = 32
LARGEST, SMALLEST = 125, -130
"""Exponents of ten of the first digit of a number."""
PLAIN = re.compile(r"0|-?(?:[1-9][0-9]{0,37}|(?:0|[1-9][0-9]{0,18})\.[0-9]{0,17}[1-9])")
"""Numbers that are canonical as they stand: all integers, and fractions of few digits."""
NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
ANY_SIZE = Context(prec=1000, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[InvalidOperation])
EXACT = Context(prec=MAX_DIGITS, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[InvalidOperation, Inexact])
DECIMAL = {operator.add: EXACT.add, operator.sub: EXACT.subtract}
TYPES = frozenset({"S", "N", "B", "BOOL", "NULL", "SS", "NS", "BS", "L", "M"})
NAMES = {"S": "STRING", "N": "NUMBER", "B": "BINARY", "BOOL": "BOOLEAN", "NULL": "NULL"}
NAMES |= {"SS": "STRING_SET", "NS": "NUMBER_SET", "BS": "BINARY_SET", "L": "LIST", "M": "MAP"}
"""What error messages call a type."""


@lru_cache(maxsize=8192)
def number(text: str) -> str:
    """The one way in which DynamoDB writes a number. Raises Refused for one that it does not store."""
    if PLAIN.fullmatch(text):
        return text
    if not NUMBER.fullmatch(text):
        shown = f": {text}" if text else ""
        raise invalid(f"The parameter cannot be converted to a numeric value{shown}")
    value = Decimal(text.strip())
    return written(value)


def written(value: Decimal) -> str:
    """The text of a number. Raises Refused."""
    if not value:
        return "0"
    digits = value.as_tuple().digits
    significant = len(str(int("".join(map(str, digits)))).rstrip("0"))
    if value.adjusted() > LARGEST:
        raise invalid("Number overflow. Attempting to store a number with magnitude larger than supported range")
    if value.adjusted() < SMALLEST:
        raise invalid("Number underflow. Attempting to store a number with magnitude smaller than supported range")
    if significant > MAX_DIGITS:
        raise invalid("Attempting to store more than 38 significant digits in a Number")
    return format(value.normalize(ANY_SIZE), "f")


def added(one: str, other: str) -> str:
    """The sum of two numbers. Raises Refused."""
    return _exact(operator.add, one, other)


def subtracted(one: str, other: str) -> str:
    """The difference of two numbers. Raises Refused."""
    return _exact(operator.sub, one, other)


def _exact(operation: Callable[[int, int], int], one: str, other: str) -> str:
    if len(one) < MAX_DIGITS and len(other) < MAX_DIGITS and one.isdigit() and other.isdigit():
        return str(operation(int(one), int(other)))  # counters, which are most of them
    try:
        return written(DECIMAL[operation](Decimal(one), Decimal(other)))
    except Inexact:
        raise invalid("Attempting to store more than 38 significant digits in a Number") from None


def canonical(attribute: Attribute, depth: int = 1) -> Attribute:
    """The attribute in the form in which it is stored. Raises Refused for one that DynamoDB does not take."""
    if len(attribute) != 1:
        what = "has more than one datatypes set" if attribute else "is empty"
        raise invalid(f"Supplied AttributeValue {what}, must contain exactly one of the supported datatypes")
    ((kind, value),) = attribute.items()
    if type(value) is str:
        if kind == "S":
            return attribute
        if kind == "N":
            text = number(value)
            return attribute if text is value or text == value else {"N": text}
    elif kind == "B":
        return attribute if type(value) is bytes else {"B": _bytes(value)}
    elif kind == "BOOL" and type(value) is bool:
        return attribute
    return _canonical_other(kind, value, depth)


def _canonical_other(kind: str, value: Any, depth: int) -> Attribute:
    if kind in ("S", "N", "B", "BOOL"):
        # A subclass of str would compare and be written as it likes.
        if kind in ("S", "N") and isinstance(value, str):
            return canonical({kind: str(value)})
        return _wrong(kind, value)  # type: ignore[no-any-return]
    if kind == "NULL":
        if value is not True:
            raise invalid_parameter("Null attribute value types must have the value of true")
        return {"NULL": True}
    if kind in ("SS", "NS", "BS"):
        return {kind: _set(kind, value)}
    if depth > MAX_DEPTH:
        raise invalid("Nesting Levels have exceeded supported limits")
    if kind == "L":
        return {"L": [canonical(element, depth + 1) for element in value]}
    if kind == "M":
        return {"M": {name: canonical(element, depth + 1) for name, element in value.items()}}
    raise invalid("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")


def _wrong(kind: str, value: Any) -> Any:
    raise Refused("SerializationException", f"an attribute of type {kind} cannot have a {type(value).__name__}")


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytearray | memoryview):
        _wrong("B", value)
    return bytes(value)


def _set(kind: str, values: Any) -> list[Any]:
    """The elements in order."""
    if not values:
        names = {"SS": "An string set ", "NS": "An number set ", "BS": "Binary sets"}
        raise invalid_parameter(f"{names[kind]} {'should not' if kind == 'BS' else 'may not'} be empty")
    element = kind[0]
    plain = [canonical({element: value})[element] for value in values]
    if len(set(plain)) < len(plain):
        if element == "N":
            raise invalid("Input collection contains duplicates")
        raise invalid_parameter(f"Input collection [{', '.join(map(str, values))}] contains duplicates.")
    return in_order(element, plain)


def in_order(element: str, values: Any) -> list[Any]:
    """The elements of a set as they are stored."""
    return sorted(values, key=Decimal) if element == "N" else sorted(values)


def sortable(kind: str, value: Any) -> Any:
    """A value of the types S, N, and B that compares as DynamoDB compares the attribute.

    DynamoDB compares the UTF-8 bytes of texts; the order of their characters is the same.
    """
    return Decimal(value) if kind == "N" else value


def size_of(attribute: Attribute) -> int:
    """The bytes that DynamoDB counts for a canonical attribute, without its name."""
    for kind, value in attribute.items():
        if kind == "S":
            return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
        if kind == "N":
            return _size_of_number(value)
        if kind == "B":
            return len(value)
        if kind == "L":
            return 3 + sum(1 + size_of(element) for element in value)
        if kind == "M":
            return 3 + sum(1 + size_of_text(name) + size_of(element) for name, element in value.items())
        if kind in ("SS", "NS", "BS"):
            return sum(size_of({kind[0]: element}) for element in value)
    return 1


def size_of_text(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=8192)
def _size_of_number(text: str) -> int:
    """A byte for each two significant digits, one for the exponent, and one for the sign of a negative number."""
    digits = text.lstrip("-").replace(".", "").strip("0")
    return (len(digits) + 1) // 2 + 1 + text.startswith("-") if digits else 1


def size_of_item(item: Item) -> int:
    return sum(size_of_text(name) + size_of(attribute) for name, attribute in item.items())
