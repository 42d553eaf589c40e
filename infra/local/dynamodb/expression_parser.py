"""The grammar of DynamoDB's expressions: a text and its attribute names in, a tree out.

condition   = conjunction (OR conjunction)*        conjunction = negation (AND negation)*
negation    = NOT negation | ( condition ) | function | operand comparator operand
            | operand BETWEEN operand AND operand | operand IN ( operand, ... )
update      = (SET path = sum, ... | REMOVE path, ... | ADD path value, ... | DELETE path value, ...)+
sum         = operand ((+ | -) operand)?           operand     = path | value | function(operand, ...)
path        = name (.name | [index])*              projection  = path, ...

A text outside of the grammar is refused with DynamoDB's error, and never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from infra.local.dynamodb.refusals import Refused, invalid
from infra.local.dynamodb.reserved_words import RESERVED_WORDS

T = TypeVar("T")
Path = tuple["str | int", ...]
"""The name of an attribute, then names of a map's entries and indexes of a list's elements."""


@dataclass(frozen=True)
class PathOperand:
    path: Path


@dataclass(frozen=True)
class Value:
    """A placeholder such as `:0`."""

    placeholder: str


@dataclass(frozen=True)
class Call:
    function: str
    arguments: tuple[Operand, ...]


@dataclass(frozen=True)
class Sum:
    """`operator` is + or -."""

    operator: str
    left: Operand
    right: Operand


Operand = PathOperand | Value | Call | Sum


@dataclass(frozen=True)
class Comparison:
    operator: str
    left: Operand
    right: Operand


@dataclass(frozen=True)
class Between:
    operand: Operand
    low: Operand
    high: Operand


@dataclass(frozen=True)
class Within:
    """Whether the operand equals one of the choices."""

    operand: Operand
    choices: tuple[Operand, ...]


@dataclass(frozen=True)
class Not:
    condition: Condition


@dataclass(frozen=True)
class Both:
    """Whether all of the conditions hold."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class Either:
    """Whether one of the conditions holds."""

    conditions: tuple[Condition, ...]


Condition = Comparison | Between | Within | Not | Both | Either | Call


@dataclass(frozen=True)
class Action:
    """`verb` is SET, REMOVE, ADD, or DELETE; REMOVE has no operand."""

    verb: str
    path: Path
    operand: Operand | None


TOKEN = re.compile(r"\s*(<>|<=|>=|[=<>(),.\[\]+-]|[#:][A-Za-z0-9_]+|[A-Za-z_][A-Za-z0-9_]*|[0-9]+|(?P<wrong>\S))")
END = "<EOF>"
COMPARATORS = {"=", "<>", "<", "<=", ">", ">="}
CONDITIONS = {
    "attribute_exists": 1,
    "attribute_not_exists": 1,
    "attribute_type": 2,
    "begins_with": 2,
    "contains": 2,
}
"""Functions that are conditions, and how many operands they take."""
VERBS = ("SET", "REMOVE", "ADD", "DELETE")
MAX_BYTES = 4096
MAX_OPERATORS = 300


class Parser:
    """Reads one expression. `kind` is the parameter that has it; `names` are ExpressionAttributeNames.

    `used_names` and `used_values` are the placeholders in it.
    """

    def __init__(self, kind: str, text: str, names: dict[str, str]) -> None:
        self.kind, self._text, self._names = kind, text, names
        self.used_names: set[str] = set()
        self.used_values: set[str] = set()
        if not text.strip():
            raise self.wrong("The expression can not be empty;")
        if len(text.encode()) > MAX_BYTES:
            raise self.wrong(
                f"Expression size has exceeded the maximum allowed size; expression size: {len(text.encode())}"
            )
        found = list(TOKEN.finditer(text))
        self._tokens = [match[1] for match in found]
        self._starts = [match.start(1) for match in found]
        self._at = 0
        self._parentheses = (-1, -1)
        """Where the last parentheses open and close."""
        for index, match in enumerate(found):
            if match["wrong"]:
                self._at = index
                raise self._syntax_error()
        if sum(token in COMPARATORS or token in "+-" for token in self._tokens) > MAX_OPERATORS:
            raise self.wrong("The expression contains too many operators;")

    def wrong(self, reason: str) -> Refused:
        return invalid(f"Invalid {self.kind}: {reason}")

    # Whole expressions

    def condition(self) -> Condition:
        return self._whole(self._either)

    def update(self) -> list[Action]:
        return self._whole(self._clauses)

    def projection(self) -> list[Path]:
        return self._whole(lambda: self._list(self._path))

    def _whole(self, read: Callable[[], T]) -> T:
        try:
            found = read()
        except RecursionError:
            raise self.wrong("The expression is nested too deeply;") from None
        if self._next != END:
            raise self._syntax_error()
        return found

    # Tokens

    @property
    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else END

    def _take(self) -> str:
        token = self._next
        self._at += 1
        return token

    def _has(self, word: str) -> bool:
        """Takes the token if it is `word`; keywords have no case."""
        if self._next.upper() == word:
            self._at += 1
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._has(word):
            raise self._syntax_error()

    def _syntax_error(self) -> Refused:
        """About the token that comes next."""
        start = self._starts[max(0, self._at - 1)] if self._starts else 0
        end = self._at + 2
        near = self._text[start : self._starts[end] if end < len(self._starts) else None].strip()
        return self.wrong(f'Syntax error; token: "{self._next}", near: "{near}"')

    def _list(self, read: Callable[[], T]) -> list[T]:
        found = [read()]
        while self._has(","):
            found.append(read())
        return found

    # Conditions

    def _either(self) -> Condition:
        parts = [self._both()]
        while self._has("OR"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _both(self) -> Condition:
        parts = [self._one()]
        while self._has("AND"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def _one(self) -> Condition:
        if self._has("NOT"):
            return Not(self._one())
        if self._has("("):
            return self._parenthesized()
        if self._next in CONDITIONS and self._is_call():
            return self._call(CONDITIONS)
        return self._comparison()

    def _parenthesized(self) -> Condition:
        """The condition behind an opening parenthesis."""
        begin = self._at
        inner = self._either()
        is_redundant = self._parentheses == (begin, self._at - 1)
        self._expect(")")
        if is_redundant:
            raise self.wrong("The expression has redundant parentheses;")
        self._parentheses = (begin - 1, self._at - 1)
        return inner

    def _comparison(self) -> Condition:
        left = self._operand({"size": 1})
        if self._has("BETWEEN"):
            low = self._operand({"size": 1})
            self._expect("AND")
            return Between(left, low, self._operand({"size": 1}))
        if self._has("IN"):
            self._expect("(")
            choices = self._list(lambda: self._operand({"size": 1}))
            self._expect(")")
            return Within(left, tuple(choices))
        if self._next not in COMPARATORS:
            raise self._syntax_error()
        operator = self._take()
        right = self._operand({"size": 1})
        if left == right and isinstance(left, PathOperand):
            raise self.wrong(
                "The first operand must be distinct from the remaining operands for this operator or function; "
                f"operator: {operator}, first operand: [{shown(left.path)}]"
            )
        return Comparison(operator, left, right)

    # Updates

    def _clauses(self) -> list[Action]:
        actions: list[Action] = []
        seen: set[str] = set()
        while self._next != END:
            verb = self._next.upper()
            if verb not in VERBS:
                raise self._syntax_error()
            if verb in seen:
                raise self.wrong(f'The "{verb}" section can only be used once in an update expression;')
            seen.add(verb)
            self._at += 1
            actions += self._list(lambda verb=verb: self._action(verb))  # type: ignore[misc]
        return actions

    def _action(self, verb: str) -> Action:
        path = self._path()
        if verb == "REMOVE":
            return Action(verb, path, None)
        if verb == "SET":
            self._expect("=")
            return Action(verb, path, self._sum())
        if not self._next.startswith(":"):
            raise self._syntax_error()
        return Action(verb, path, self._operand({}))

    def _sum(self) -> Operand:
        functions = {"if_not_exists": 2, "list_append": 2}
        left = self._operand(functions)
        if self._next not in ("+", "-"):
            return left
        return Sum(self._take(), left, self._operand(functions))

    # Operands

    def _operand(self, functions: dict[str, int]) -> Operand:
        if self._next.startswith(":"):
            self.used_values.add(self._next)
            return Value(self._take())
        if self._is_call():
            return self._call(functions)
        return PathOperand(self._path())

    def _is_call(self) -> bool:
        return self._at + 1 < len(self._tokens) and self._tokens[self._at + 1] == "(" and self._next[0].isalpha()

    def _call(self, functions: dict[str, int]) -> Call:
        name = self._take()
        if name not in functions:
            known = name in CONDITIONS or name in ("size", "if_not_exists", "list_append")
            what = "The function is not allowed in this context" if known else "Invalid function name"
            raise self.wrong(f"{what}; function: {name}")
        self._expect("(")
        arguments = self._list(lambda: self._operand(functions))
        self._expect(")")
        if len(arguments) != functions[name]:
            raise self.wrong(
                "Incorrect number of operands for operator or function; "
                f"operator or function: {name}, number of operands: {len(arguments)}"
            )
        has_path = isinstance(arguments[0], PathOperand)
        if name in ("attribute_exists", "attribute_not_exists", "attribute_type", "if_not_exists") and not has_path:
            raise self.wrong(f"Operator or function requires a document path; operator or function: {name}")
        return Call(name, tuple(arguments))

    def _path(self) -> Path:
        elements: list[str | int] = [self._name()]
        while True:
            if self._has("."):
                elements.append(self._name())
            elif self._has("["):
                if not self._next.isdigit():
                    raise self._syntax_error()
                elements.append(int(self._take()))
                self._expect("]")
            else:
                return tuple(elements)

    def _name(self) -> str:
        token = self._next
        if token.startswith("#"):
            if token not in self._names:
                raise self.wrong(
                    f"An expression attribute name used in the document path is not defined; attribute name: {token}"
                )
            self.used_names.add(token)
            self._at += 1
            return self._names[token]
        if not (token[0].isalpha() or token[0] == "_"):
            raise self._syntax_error()
        if token.upper() in RESERVED_WORDS:
            raise self.wrong(f"Attribute name is a reserved keyword; reserved keyword: {token}")
        self._at += 1
        return token


def shown(path: Path) -> str:
    """A path as error messages have it."""
    return ", ".join(f"[{element}]" if isinstance(element, int) else element for element in path)
