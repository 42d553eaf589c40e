"""Expressions as functions: each text is parsed once, and a request with a known text finds its plan in a cache."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from infra.local.dynamodb import attributes
from infra.local.dynamodb.attributes import Attribute, Item
from infra.local.dynamodb.expression_parser import (
    Action,
    Between,
    Both,
    Call,
    Comparison,
    Condition,
    Either,
    Not,
    Operand,
    Parser,
    Path,
    PathOperand,
    Sum,
    Value,
    Within,
    shown,
)
from infra.local.dynamodb.refusals import Refused, invalid

Values = dict[str, Attribute]
Test = Callable[[Item, Values], bool]
Get = Callable[[Item, Values], "Attribute | None"]
"""An operand of an item; None where the item has none."""
Change = Callable[[Item, Item, Values], None]
"""Changes the first item, a copy of the second."""

ORDERED = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
SORTABLE = frozenset("SNB")
NO_SUCH_ATTRIBUTE = "The provided expression refers to an attribute that does not exist in the item"
WRONG_OPERAND = "An operand in the update expression has an incorrect data type"
WRONG_PATH = "The document path provided in the update expression is invalid for update"


class Plan:
    """The expressions of a request, compiled. An expression that the request does not have is None.

    `checks` say which types the values of a placeholder may have, and for which operator.
    """

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names
        self._used_names: set[str] = set()
        self.kinds: dict[str, str] = {}
        """The expression that needs each placeholder of a value."""
        self.checks: list[tuple[str, frozenset[str], str, str]] = []
        self.ranges: list[tuple[str, str, str]] = []
        """The placeholders of the bounds of each BETWEEN, and the expression that has it."""
        self.update: Update | None = None
        self.condition: Test | None = None
        self.filter: Test | None = None
        self.filtered: frozenset[str] = frozenset()
        """The attributes that the filter looks at."""
        self.key_condition: KeyCondition | None = None
        self.projection: tuple[Path, ...] | None = None
        self.placeholders: frozenset[str] = frozenset()

    def parser(self, kind: str, text: str) -> Parser:
        return Parser(kind, text, self._names)

    def note(self, parser: Parser) -> None:
        """An expression was read to its end."""
        self._used_names |= parser.used_names
        self.kinds |= dict.fromkeys(parser.used_values, parser.kind)

    def finish(self) -> None:
        """Raises Refused for a name that no expression uses."""
        if unused := self._names.keys() - self._used_names:
            if not self._used_names and not self.kinds and self.has_none():
                raise invalid("ExpressionAttributeNames can only be specified when using expressions")
            listed = ", ".join(sorted(unused))
            raise invalid(f"Value provided in ExpressionAttributeNames unused in expressions: keys: {{{listed}}}")
        self.placeholders = frozenset(self.kinds)

    def has_none(self) -> bool:
        found = (self.update, self.condition, self.filter, self.key_condition, self.projection)
        return all(expression is None for expression in found)

    def values(self, given: Values | None) -> Values:
        """The request's values in canonical form. Raises Refused where they do not fit the expressions."""
        if not given:
            if given is not None:
                raise invalid("ExpressionAttributeValues must not be empty")
            if not self.placeholders:
                return {}
            given = {}
        if given.keys() != self.placeholders:
            self._refuse(given)
        canonical = attributes.canonical
        values = {placeholder: canonical(value) for placeholder, value in given.items()}
        for placeholder, types, name, kind in self.checks:
            (found,) = values[placeholder]
            if found not in types:
                shown_type = attributes.NAMES[found] if kind == "UpdateExpression" else found
                raise invalid(
                    f"Invalid {kind}: Incorrect operand type for operator or function; "
                    f"operator{'' if name in ('ADD', 'DELETE', '<', '<=', '>', '>=', 'BETWEEN') else ' or function'}: "
                    f"{name}, operand type: {shown_type}"
                )
        for low, high, kind in self.ranges:
            _refuse_wrong_range(values[low], values[high], kind)
        return values

    def _refuse(self, given: Values) -> None:
        for placeholder in sorted(self.placeholders - given.keys()):
            raise invalid(
                f"Invalid {self.kinds[placeholder]}: An expression attribute value used in expression is not defined; "
                f"attribute value: {placeholder}"
            )
        if self.has_none():
            raise invalid("ExpressionAttributeValues can only be specified when using expressions")
        listed = ", ".join(sorted(given.keys() - self.placeholders))
        raise invalid(f"Value provided in ExpressionAttributeValues unused in expressions: keys: {{{listed}}}")

    def check(self, operand: Operand, types: frozenset[str], name: str, kind: str) -> None:
        """Let requests be refused whose value for the operand is of another type."""
        if isinstance(operand, Value):
            self.checks.append((operand.placeholder, types, name, kind))

    def check_range(self, low: Operand, high: Operand, kind: str) -> None:
        """Let requests be refused whose values are no range."""
        for bound in (low, high):
            self.check(bound, SORTABLE, "BETWEEN", kind)
        if isinstance(low, Value) and isinstance(high, Value):
            self.ranges.append((low.placeholder, high.placeholder, kind))


def _refuse_wrong_range(low: Attribute, high: Attribute, kind: str) -> None:
    ((found, first),) = low.items()
    if found not in high:
        raise invalid(f"Invalid {kind}: The BETWEEN operator requires same data type for lower and upper bounds")
    if attributes.sortable(found, first) > attributes.sortable(found, high[found]):
        raise invalid(
            f"Invalid {kind}: The BETWEEN operator requires upper bound to be greater than or equal to lower bound"
        )


@lru_cache(maxsize=4096)
def plan(
    update: str | None,
    condition: str | None,
    filter_: str | None,
    key_condition: str | None,
    projection: str | None,
    *names: str,
) -> Plan:
    """The plan of a request's expressions. `names`: the placeholders, then the names that they stand for."""
    half = len(names) // 2
    made = Plan(dict(zip(names[:half], names[half:], strict=True)))
    if update is not None:
        parser = made.parser("UpdateExpression", update)
        made.update = Update(parser, made)
        made.note(parser)
    if condition is not None:
        made.condition, _ = _read_condition(made, "ConditionExpression", condition)
    if key_condition is not None:
        parser = made.parser("KeyConditionExpression", key_condition)
        made.key_condition = KeyCondition(parser, made)
        made.note(parser)
    if filter_ is not None:
        made.filter, made.filtered = _read_condition(made, "FilterExpression", filter_)
    if projection is not None:
        parser = made.parser("ProjectionExpression", projection)
        made.projection = tuple(parser.projection())
        _refuse_overlaps(parser, made.projection)
        made.note(parser)
    made.finish()
    return made


NO_PLAN = plan(None, None, None, None, None)
EXPRESSIONS = {"UpdateExpression", "ConditionExpression", "FilterExpression", "KeyConditionExpression"}


def plan_of(request: dict[str, Any]) -> Plan:
    """The plan of a request. Raises Refused."""
    get = request.get
    names = get("ExpressionAttributeNames")
    if names:
        return plan(
            get("UpdateExpression"),
            get("ConditionExpression"),
            get("FilterExpression"),
            get("KeyConditionExpression"),
            get("ProjectionExpression"),
            *names,
            *names.values(),
        )
    if names is not None:
        raise invalid("ExpressionAttributeNames must not be empty")
    return plan(
        get("UpdateExpression"),
        get("ConditionExpression"),
        get("FilterExpression"),
        get("KeyConditionExpression"),
        get("ProjectionExpression"),
    )


def _read_condition(made: Plan, kind: str, text: str) -> tuple[Test, frozenset[str]]:
    """A condition, and the attributes that it looks at."""
    parser = made.parser(kind, text)
    tree = parser.condition()
    made.note(parser)
    return _Compiler(made, kind).condition(tree), frozenset(_names_in(tree))


def _names_in(node: object) -> Iterable[str]:
    if isinstance(node, PathOperand):
        yield str(node.path[0])
    elif isinstance(node, tuple):
        for part in node:
            yield from _names_in(part)
    elif hasattr(node, "__dataclass_fields__"):
        for name in node.__dataclass_fields__:
            yield from _names_in(getattr(node, name))


# Operands and conditions


def path_getter(path: Path) -> Callable[[Item], Attribute | None]:
    """A function that returns the attribute at a path, or None."""
    name = path[0]
    if len(path) == 1:
        return lambda item: item.get(name)  # type: ignore[arg-type]

    def get(item: Item) -> Attribute | None:
        found = item.get(name)  # type: ignore[arg-type]
        for element in path[1:]:
            if found is None:
                return None
            found = _inside(found, element)
        return found

    return get


def _inside(attribute: Attribute, element: str | int) -> Attribute | None:
    if isinstance(element, int):
        elements: list[Attribute] = attribute.get("L", [])
        return elements[element] if element < len(elements) else None
    return attribute.get("M", {}).get(element)  # type: ignore[no-any-return]


class _Compiler:
    """Makes functions of the tree of one expression."""

    def __init__(self, made: Plan, kind: str) -> None:
        self._plan, self._kind = made, kind

    def condition(self, node: Condition) -> Test:
        match node:
            case Either(parts):
                return self._either([self.condition(part) for part in parts])
            case Both(parts):
                return self._both([self.condition(part) for part in parts])
            case Not(inner):
                negated = self.condition(inner)
                return lambda item, values: not negated(item, values)
            case Comparison():
                return self._comparison(node)
            case Between(operand, low, high):
                self._plan.check_range(low, high, self._kind)
                above, below = self._ordered(">=", operand, low), self._ordered("<=", operand, high)
                return lambda item, values: above(item, values) and below(item, values)
            case Within(operand, choices):
                get, getters = self.operand(operand), [self.operand(choice) for choice in choices]
                return lambda item, values: (
                    (found := get(item, values)) is not None and any(found == one(item, values) for one in getters)
                )
            case Call():
                return self._function(node)

    def _either(self, parts: list[Test]) -> Test:
        if len(parts) == 2:
            first, second = parts
            return lambda item, values: first(item, values) or second(item, values)
        return lambda item, values: any(part(item, values) for part in parts)

    def _both(self, parts: list[Test]) -> Test:
        if len(parts) == 2:
            first, second = parts
            return lambda item, values: first(item, values) and second(item, values)
        return lambda item, values: all(part(item, values) for part in parts)

    def _comparison(self, node: Comparison) -> Test:
        """An absent attribute equals nothing, and is unequal to everything."""
        if node.operator in ORDERED:
            for operand in (node.left, node.right):
                self._plan.check(operand, SORTABLE, node.operator, self._kind)
            return self._ordered(node.operator, node.left, node.right)
        left, right = self.operand(node.left), self.operand(node.right)
        if node.operator == "=":
            return lambda item, values: (found := left(item, values)) is not None and found == right(item, values)
        return lambda item, values: (found := left(item, values)) is None or found != right(item, values)

    def _ordered(self, name: str, left_node: Operand, right_node: Operand) -> Test:
        left, right, compare = self.operand(left_node), self.operand(right_node), ORDERED[name]

        def test(item: Item, values: Values) -> bool:
            one, other = left(item, values), right(item, values)
            if one is None or other is None:
                return False
            ((kind, value),) = one.items()
            limit = other.get(kind)
            if limit is None or kind not in SORTABLE:
                return False
            if kind == "N":
                value, limit = attributes.sortable("N", value), attributes.sortable("N", limit)
            return bool(compare(value, limit))

        return test

    def _function(self, node: Call) -> Test:
        name, arguments = node.function, node.arguments
        first = self.operand(arguments[0])
        if name == "attribute_exists":
            return lambda item, values: first(item, values) is not None
        if name == "attribute_not_exists":
            return lambda item, values: first(item, values) is None
        second = self.operand(arguments[1])
        if name == "attribute_type":
            return self._attribute_type(node)
        if name == "begins_with":
            for argument in arguments:
                self._plan.check(argument, frozenset("SB"), name, self._kind)
            return lambda item, values: _begins_with(first(item, values), second(item, values))
        return lambda item, values: _contains(first(item, values), second(item, values))

    def _attribute_type(self, node: Call) -> Test:
        first, second = self.operand(node.arguments[0]), node.arguments[1]
        if not isinstance(second, Value):
            raise invalid(
                f"Invalid {self._kind}: Incorrect operand type for operator or function; "
                "operator or function: attribute_type, operand type: PATH"
            )
        self._plan.check(second, frozenset("S"), "attribute_type", self._kind)

        def test(item: Item, values: Values) -> bool:
            wanted, found = values[second.placeholder]["S"], first(item, values)
            if wanted not in attributes.TYPES:
                raise invalid(
                    f"Invalid {self._kind}: Invalid attribute type name found; type: {wanted}, "
                    "valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}"
                )
            return found is not None and wanted in found

        return test

    def operand(self, node: Operand) -> Get:
        match node:
            case Value(placeholder):
                return lambda item, values: values[placeholder]
            case PathOperand(path):
                if len(path) == 1:
                    name = str(path[0])
                    return lambda item, values: item.get(name)
                get = path_getter(path)
                return lambda item, values: get(item)
            case Call("size", (measured,)):
                inner = self.operand(measured)
                return lambda item, values: _length(inner(item, values))
            case Call("if_not_exists", (first, second)):
                present, other = self.operand(first), self.operand(second)
                return lambda item, values: (
                    found if (found := present(item, values)) is not None else other(item, values)
                )
            case Call("list_append", (first, second)):
                for argument in (first, second):
                    self._plan.check(argument, frozenset("L"), "list_append", self._kind)
                head, tail = self._required(first), self._required(second)
                return lambda item, values: {"L": _list(head(item, values)) + _list(tail(item, values))}
            case Sum(sign, first, second):
                for argument in (first, second):
                    self._plan.check(argument, frozenset("N"), sign, self._kind)
                left, right = self._required(first), self._required(second)
                calculate = attributes.added if sign == "+" else attributes.subtracted
                return lambda item, values: {"N": calculate(_number(left(item, values)), _number(right(item, values)))}
        raise AssertionError(f"unreachable: the parser makes no {node}")

    def _required(self, node: Operand) -> Callable[[Item, Values], Attribute]:
        """The operand of an update, which the item must have."""
        get = self.operand(node)

        def required(item: Item, values: Values) -> Attribute:
            found = get(item, values)
            if found is None:
                raise invalid(NO_SUCH_ATTRIBUTE)
            return found

        return required

    def required(self, node: Operand) -> Callable[[Item, Values], Attribute]:
        return self._required(node)


def _begins_with(whole: Attribute | None, prefix: Attribute | None) -> bool:
    if whole is None or prefix is None:
        return False
    ((kind, value),) = whole.items()
    return kind in ("S", "B") and kind in prefix and value.startswith(prefix[kind])


def _contains(whole: Attribute | None, part: Attribute | None) -> bool:
    if whole is None or part is None:
        return False
    ((kind, value),) = whole.items()
    if kind == "L":
        return part in value
    ((wanted, element),) = part.items()
    if kind in ("S", "B"):
        return kind == wanted and element in value
    return kind in ("SS", "NS", "BS") and wanted == kind[0] and element in value


def _length(attribute: Attribute | None) -> Attribute | None:
    """What `size` returns: bytes of a text or of binary data, elements of a set, a list, or a map."""
    if attribute is None:
        return None
    ((kind, value),) = attribute.items()
    if kind in ("N", "BOOL", "NULL"):
        return None
    return {"N": str(attributes.size_of_text(value) if kind == "S" else len(value))}


def _list(attribute: Attribute) -> list[Attribute]:
    if "L" not in attribute:
        raise invalid(WRONG_OPERAND)
    elements: list[Attribute] = attribute["L"]
    return elements


def _number(attribute: Attribute) -> str:
    if "N" not in attribute:
        raise invalid(WRONG_OPERAND)
    text: str = attribute["N"]
    return text


# Updates


class Update:
    """An update expression. `changed` are the names of the attributes that it may change, and the bytes of
    each name; `paths` are its paths."""

    def __init__(self, parser: Parser, made: Plan) -> None:
        actions = parser.update()
        self.paths = tuple(action.path for action in actions)
        names = dict.fromkeys(str(path[0]) for path in self.paths)
        self.changed = tuple((name, attributes.size_of_text(name)) for name in names)
        _refuse_overlaps(parser, self.paths)
        self._compiler = _Compiler(made, parser.kind)
        self._plan, self._kind = made, parser.kind
        self._simple: list[tuple[str, str]] = []
        """Attributes that become a value, and its placeholder: most of what updates do."""
        for action in actions:
            if action.verb == "SET" and len(action.path) == 1 and isinstance(action.operand, Value):
                self._simple.append((str(action.path[0]), action.operand.placeholder))
        others = [action for action in actions if not self._is_simple(action)]
        others.sort(key=_order)
        self._changes = [self._change(action) for action in others]

    @staticmethod
    def _is_simple(action: Action) -> bool:
        return action.verb == "SET" and len(action.path) == 1 and isinstance(action.operand, Value)

    def apply(self, item: Item, values: Values) -> Item:
        """The item that the update makes of `item`, which stays as it is. Raises Refused."""
        made = dict(item)
        for name, placeholder in self._simple:
            made[name] = values[placeholder]
        for change in self._changes:
            change(made, item, values)
        return made

    def _change(self, action: Action) -> Change:
        write = _writer(action.path)
        if action.verb == "REMOVE":
            return lambda made, item, values: write(made, None)
        assert action.operand is not None, "only REMOVE has none"
        get = self._compiler.required(action.operand)
        if action.verb == "SET":
            return lambda made, item, values: write(made, get(item, values))
        read = path_getter(action.path)
        if action.verb == "ADD":
            self._plan.check(action.operand, frozenset({"N", "SS", "NS", "BS"}), "ADD", self._kind)
            return lambda made, item, values: write(made, _sum(read(item), get(item, values)))
        self._plan.check(action.operand, frozenset({"SS", "NS", "BS"}), "DELETE", self._kind)

        def delete(made: Item, item: Item, values: Values) -> None:
            before, taken = read(item), get(item, values)
            if before is not None:
                write(made, _without(before, taken))

        return delete


def _order(action: Action) -> tuple[bool, list[int]]:
    """Elements past a list's end are appended in order. Removals move the elements behind, and come last, backward."""
    indexes = [element for element in action.path if isinstance(element, int)]
    return (True, [-index for index in indexes]) if action.verb == "REMOVE" else (False, indexes)


def _writer(path: Path) -> Callable[[Item, Attribute | None], None]:
    """A function that puts an attribute at a path of an item, or removes it; containers on the way are copied."""
    name = str(path[0])
    if len(path) == 1:

        def write(made: Item, attribute: Attribute | None) -> None:
            if attribute is None:
                made.pop(name, None)
            else:
                made[name] = attribute

        return write

    def write_inside(made: Item, attribute: Attribute | None) -> None:
        if name not in made:
            raise invalid(WRONG_PATH)
        made[name] = _with(made[name], path[1:], attribute)

    return write_inside


def _with(container: Attribute, path: Path, attribute: Attribute | None) -> Attribute:
    """A copy of a map or list with another attribute at a path in it."""
    element = path[0]
    kind = "L" if isinstance(element, int) else "M"
    if kind not in container:
        raise invalid(WRONG_PATH)
    inner: Any = container[kind].copy()
    is_there = element < len(inner) if isinstance(element, int) else element in inner
    if len(path) > 1:
        if not is_there:
            raise invalid(WRONG_PATH)
        inner[element] = _with(inner[element], path[1:], attribute)
    elif attribute is None:
        if is_there:
            del inner[element]
    elif is_there or isinstance(element, str):
        inner[element] = attribute
    else:
        inner.append(attribute)
    return {kind: inner}


def _sum(before: Attribute | None, added: Attribute) -> Attribute:
    """What ADD makes of an attribute: a number grows by a number, and a set by a set of its type."""
    if before is None:
        return added
    ((kind, value),) = added.items()
    if kind not in before:
        raise invalid(WRONG_OPERAND)
    if kind == "N":
        return {"N": attributes.added(before["N"], value)}
    return {kind: attributes.in_order(kind[0], {*before[kind], *value})}


def _without(before: Attribute, taken: Attribute) -> Attribute | None:
    """What DELETE leaves of a set; None of an emptied one, which is no attribute."""
    ((kind, value),) = taken.items()
    if kind not in before:
        raise invalid(WRONG_OPERAND)
    left = [element for element in before[kind] if element not in value]
    return {kind: left} if left else None


def _refuse_overlaps(parser: Parser, paths: tuple[Path, ...]) -> None:
    for index, one in enumerate(paths):
        for other in paths[:index]:
            common = min(len(one), len(other))
            if one[:common] == other[:common]:
                raise parser.wrong(
                    "Two document paths overlap with each other; must remove or rewrite one of these paths; "
                    f"path one: [{shown(other)}], path two: [{shown(one)}]"
                )


def projected(item: Item, paths: tuple[Path, ...]) -> Item:
    """The parts of an item at the given paths; elements of a list move together."""
    if all(len(path) == 1 for path in paths):
        return {name: item[name] for (name,) in paths if name in item}
    made: Any = {"M": {}}
    for path in sorted(paths, key=lambda path: [(isinstance(e, str), e if isinstance(e, int) else 0) for e in path]):
        if path_getter(path)(item) is not None:
            _copy_into(made["M"], {"M": item}, path)
    return _packed(made)["M"]  # type: ignore[no-any-return]


def _copy_into(target: Any, source: Attribute, path: Path) -> None:
    """`target` maps names, and for a list its indexes, to attributes; a list is a map until all paths are in it."""
    element = path[0]
    found = _inside(source, element)
    assert found is not None, "the caller looked"
    if len(path) == 1:
        target[element] = found
        return
    kind = "L" if isinstance(path[1], int) else "M"
    inner = target.setdefault(element, {kind: {}})
    _copy_into(inner[kind], found, path[1:])


def _packed(attribute: Attribute) -> Attribute:
    """Maps of indexes as lists, in the order of the indexes."""
    for kind, value in attribute.items():
        if kind == "L" and isinstance(value, dict):
            return {"L": [_packed(value[index]) for index in sorted(value)]}
        if kind == "M":
            return {"M": {name: _packed(inner) for name, inner in value.items()}}
    return attribute


# Key conditions


class KeyCondition:
    """The conditions of a query: a value of the partition key, and at most one condition on the sort key.

    `parts` are the attribute, the operator, and the placeholders of each.
    """

    def __init__(self, parser: Parser, made: Plan) -> None:
        tree = parser.condition()
        nodes = _flat(tree)
        self.parts = [self._part(parser, made, node) for node in nodes]
        names = [name for name, _, _ in self.parts]
        if len(set(names)) < len(names):
            raise parser.wrong("KeyConditionExpressions must only contain one condition per key")
        self.names = frozenset(names)

    def _part(self, parser: Parser, made: Plan, node: Condition) -> tuple[str, str, tuple[str, ...]]:
        match node:
            case Comparison(sign, PathOperand((str(name),)), Value(value)) if sign != "<>":
                return name, sign, (value,)
            case Between(PathOperand((str(name),)), Value(low), Value(high)):
                made.check_range(Value(low), Value(high), parser.kind)
                return name, "BETWEEN", (low, high)
            case Call("begins_with", (PathOperand((str(name),)), Value(prefix))):
                made.check(Value(prefix), frozenset("SB"), "begins_with", parser.kind)
                return name, "begins_with", (prefix,)
            case Either():
                raise parser.wrong("Invalid operator used in KeyConditionExpression: OR")
            case Not():
                raise parser.wrong("Invalid operator used in KeyConditionExpression: NOT")
            case Within():
                raise parser.wrong("Invalid operator used in KeyConditionExpression: IN")
            case Comparison("<>"):
                raise parser.wrong("Invalid operator used in KeyConditionExpression: <>")
            case Call(name, _) if name != "begins_with":
                raise parser.wrong(f"Invalid operator used in KeyConditionExpression: {name}")
        raise invalid("Query key condition not supported")


def _flat(node: Condition) -> list[Condition]:
    if isinstance(node, Both):
        return [inner for part in node.conditions for inner in _flat(part)]
    return [node]


__all__ = ["NO_PLAN", "KeyCondition", "Plan", "Refused", "Update", "plan", "plan_of", "projected"]
