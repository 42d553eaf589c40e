"""DynamoDB's condition and update expressions, as PynamoDB writes them, compiled once each.

Attributes are in DynamoDB's own form, {"S": "…"}. What PynamoDB never writes here is refused, not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any

Attribute = dict[str, Any]
Item = dict[str, Attribute]
Names = dict[str, str]
Values = dict[str, Attribute]
Condition = Callable[[Item, Names, Values], bool]
Operand = Callable[[Item, Names, Values], Any]
Update = Callable[[Item, Names, Values], Item]

TOKEN = re.compile(r"\s*(<>|<=|>=|[=<>(),]|[#:]\w+|\w+)")
ABSENT = object()


@lru_cache(maxsize=4096)
def condition(text: str) -> Condition:
    parser = _Parser(text)
    parsed = parser.either()
    parser.expect(None)
    return parsed


@lru_cache(maxsize=4096)
def update(text: str) -> Update:
    """A function from an item to the item that the update makes of it; neither is the other."""
    parser = _Parser(text)
    changes: list[tuple[str, str, Operand | None]] = []
    while (verb := parser.take()) is not None:
        if verb not in {"SET", "ADD", "REMOVE"}:
            raise NotImplementedError(f"{verb} in {text}")
        while True:
            name = parser.take() or ""
            if verb == "SET":
                parser.expect("=")
            changes.append((verb, name, None if verb == "REMOVE" else parser.operand()))
            if parser.next != ",":
                break
            parser.take()

    def apply(item: Item, names: Names, values: Values) -> Item:
        made = dict(item)
        for verb, name, operand in changes:
            attribute = names[name]
            if operand is None:
                made.pop(attribute, None)
            elif verb == "SET":
                made[attribute] = operand(item, names, values)
            else:
                made[attribute] = _sum(item.get(attribute, {"N": "0"}), operand(item, names, values))
        return made

    return apply


class _Parser:
    """either := both (OR both)*; both := one (AND one)*; one := NOT one | (either) | exists | operand comparison."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = TOKEN.findall(text)
        self._at = 0

    @property
    def next(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def take(self) -> str | None:
        token = self.next
        self._at += 1
        return token

    def expect(self, token: str | None) -> None:
        if self.take() != token:
            raise NotImplementedError(f"expected {token or 'the end'}: {self._text}")

    def either(self) -> Condition:
        parts = [self.both()]
        while self.next == "OR":
            self.take()
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else lambda *given: any(part(*given) for part in parts)

    def both(self) -> Condition:
        parts = [self.one()]
        while self.next == "AND":
            self.take()
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else lambda *given: all(part(*given) for part in parts)

    def one(self) -> Condition:
        if self.next == "NOT":
            self.take()
            negated = self.one()
            return lambda *given: not negated(*given)
        if self.next == "(":
            self.take()
            inner = self.either()
            self.expect(")")
            return inner
        if self.next in {"attribute_exists", "attribute_not_exists"}:
            return self._exists(self.take() == "attribute_exists")
        return self._comparison()

    def _exists(self, wanted: bool) -> Condition:
        self.expect("(")
        name = self.take() or ""
        self.expect(")")
        return lambda item, names, values: (names[name] in item) is wanted

    def _comparison(self) -> Condition:
        left, operator = self.operand(), self.take()
        if operator == "IN":
            self.expect("(")
            choices = [self.operand()]
            while self.next == ",":
                self.take()
                choices.append(self.operand())
            self.expect(")")
            return lambda *given: any(_compare("=", left(*given), each(*given)) for each in choices)
        right = self.operand()
        if operator == "BETWEEN":
            self.expect("AND")
            high = self.operand()
            return lambda *given: (
                _compare(">=", left(*given), right(*given)) and _compare("<=", left(*given), high(*given))
            )
        return lambda *given: _compare(operator, left(*given), right(*given))

    def operand(self) -> Operand:
        token = self.take() or ""
        if token[0] == ":":
            return lambda item, names, values: values[token]
        if token[0] == "#":
            return lambda item, names, values: item.get(names[token], ABSENT)
        if token == "if_not_exists":
            self.expect("(")
            name = self.take() or ""
            self.expect(",")
            other = self.operand()
            self.expect(")")
            return lambda item, names, values: item.get(names[name]) or other(item, names, values)
        raise NotImplementedError(f"{token} in {self._text}")


def _compare(operator: str | None, left: Any, right: Any) -> bool:
    """An absent attribute equals nothing, and is unequal to everything."""
    if left is ABSENT or right is ABSENT:
        return operator == "<>"
    ((left_type, one),) = left.items()
    ((right_type, other),) = right.items()
    if left_type != right_type:
        return operator == "<>"
    if left_type == "N" and one != other:
        one, other = Decimal(one), Decimal(other)
    match operator:
        case "=":
            return bool(one == other)
        case "<>":
            return bool(one != other)
        case "<":
            return bool(one < other)
        case "<=":
            return bool(one <= other)
        case ">":
            return bool(one > other)
        case ">=":
            return bool(one >= other)
    raise NotImplementedError(f"operator {operator}")


def _sum(one: Attribute, other: Attribute) -> Attribute:
    return {"N": str(Decimal(one["N"]) + Decimal(other["N"]))}
