"""Random operations on few keys, clear of what differences.py lists, so that all peers must agree on all of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.infra.local.dynamodb.cases.forms import THINGS, Call, Item, attribute, attributes

KEYS = [(id_, part) for id_ in "ab" for part in "xyz"]
INTEGERS, LARGE = st.integers(-3, 3), st.integers(10**20, 10**30)
TEXTS = st.sampled_from(["", "a", "ab", "b", "ä", "\U0001f600"])
SETS = st.sets(st.sampled_from("pqr"), min_size=1)
LISTS = st.lists(INTEGERS | TEXTS, max_size=3)
MAPS = st.fixed_dictionaries({}, optional={"a": INTEGERS, "b": TEXTS})
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "n": INTEGERS | LARGE,
    "t": TEXTS,
    "s": SETS,
    "l": LISTS,
    "m": MAPS,
    "b": st.binary(max_size=3),
    "kind": st.sampled_from(["k1", "k2"]),
    "rank": st.sampled_from(["r1", "r2", "r3"]),
    "yes": st.booleans(),
}
"""What each attribute may have: one type for each, since moto raises TypeError where types meet."""
Draw = Any


class Expressions:
    """The expressions of one request; values and names get placeholders as PynamoDB gives them."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.values: dict[str, Any] = {}
        self.names: dict[str, str] = {}

    def value(self, value: Any) -> str:
        placeholder = f":{len(self.values)}"
        self.values[placeholder] = attribute(value)
        return placeholder

    def name(self, name: str) -> str:
        known = next((placeholder for placeholder, meant in self.names.items() if meant == name), None)
        if known is None:
            known = f"#{len(self.names)}"
            self.names[known] = name
        return known

    def some(self, name: str) -> str:
        return self.value(self.draw(VALUES[name]))

    def request(self, **more: Any) -> dict[str, Any]:
        told = {"TableName": THINGS, **more}
        if self.values:
            told["ExpressionAttributeValues"] = self.values
        if self.names:
            told["ExpressionAttributeNames"] = self.names
        return {name: value for name, value in told.items() if value is not None}

    def condition(self, depth: int = 2) -> str:
        form = self.draw(st.sampled_from(["one", "one", "NOT", "AND", "OR"] if depth else ["one"]))
        match form:
            case "NOT":
                return f"NOT ({self.condition(depth - 1)})"
            case "AND" | "OR":
                return f"({self.condition(depth - 1)}) {form} ({self.condition(depth - 1)})"
        return self._test()

    def _test(self) -> str:
        kind = self.draw(
            st.sampled_from(["exists", "exists", "compare", "between", "begins", "contains", "in", "path"])
        )
        attribute_name = self.draw(st.sampled_from(sorted(VALUES)))
        match kind:
            case "exists":
                function = self.draw(st.sampled_from(["attribute_exists", "attribute_not_exists"]))
                return f"{function} ({self.name(attribute_name)})"
            case "compare":
                if attribute_name in "ntb":
                    sign = self.draw(st.sampled_from(["=", "<>", "<", "<=", ">", ">="]))
                else:
                    sign = self.draw(st.sampled_from(["=", "<>"]))
                return f"{self.name(attribute_name)} {sign} {self.some(attribute_name)}"
            case "between":
                low, high = sorted([self.draw(INTEGERS), self.draw(INTEGERS)])
                return f"{self.name('n')} BETWEEN {self.value(low)} AND {self.value(high)}"
            case "begins":
                return f"begins_with ({self.name('t')}, {self.some('t')})"
            case "contains":
                return f"contains ({self.name('s')}, {self.value(self.draw(st.sampled_from('pqr')))})"
            case "in":
                return f"{self.name('n')} IN ({self.some('n')}, {self.some('n')})"
        return f"{self.name('m')}.{self.name('a')} = {self.value(self.draw(INTEGERS))}"

    def update(self, *, may_be_invalid: bool) -> str:
        """At least one action; no attribute in two of them."""
        changed = self.draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4, unique=True))
        clauses: dict[str, list[str]] = {}
        for attribute_name in changed:
            verb, action = self._action(attribute_name, may_be_invalid)
            clauses.setdefault(verb, []).append(action)
        return " ".join(f"{verb} {', '.join(actions)}" for verb, actions in clauses.items())

    def _action(self, attribute_name: str, may_be_invalid: bool) -> tuple[str, str]:
        name = self.name(attribute_name)
        choices = [lambda: ("SET", f"{name} = {self.some(attribute_name)}"), lambda: ("REMOVE", name)]
        choices.append(lambda: ("SET", f"{name} = if_not_exists ({name}, {self.some(attribute_name)})"))
        invalid: list[Any] = []
        match attribute_name:
            case "n":
                choices.append(lambda: ("ADD", f"{name} {self.some('n')}"))
                choices.append(lambda: ("SET", f"{name} = if_not_exists ({name}, {self.some('n')}) + {self.some('n')}"))
                invalid.append(lambda: ("SET", f"{name} = {name} - {self.some('n')}"))
            case "s":
                choices.append(lambda: ("ADD", f"{name} {self.some('s')}"))
                choices.append(lambda: ("DELETE", f"{name} {self.some('s')}"))
            case "l":
                choices.append(
                    lambda: (
                        "SET",
                        f"{name} = list_append (if_not_exists ({name}, {self.value([])}), {self.some('l')})",
                    )
                )
            case "m":
                invalid.append(lambda: ("SET", f"{name}.{self.name('a')} = {self.value(self.draw(INTEGERS))}"))
        made: tuple[str, str] = self.draw(st.sampled_from(choices + (invalid if may_be_invalid else [])))()
        return made


@st.composite
def keys(draw: Draw) -> Item:
    id_, part = draw(st.sampled_from(KEYS))
    return attributes({"id": id_, "part": part})


@st.composite
def items(draw: Draw) -> Item:
    return {**draw(keys()), **attributes(draw(st.fixed_dictionaries({}, optional=VALUES)))}


def _maybe_condition(draw: Draw, made: Expressions) -> str | None:
    return made.condition() if draw(st.booleans()) else None


@st.composite
def puts(draw: Draw) -> Call:
    made = Expressions(draw)
    told = {
        "ConditionExpression": _maybe_condition(draw, made),
        "ReturnValues": draw(st.sampled_from([None, "ALL_OLD"])),
    }
    return "PutItem", made.request(Item=draw(items()), ReturnValuesOnConditionCheckFailure=_old(draw), **told)


@st.composite
def deletes(draw: Draw) -> Call:
    made = Expressions(draw)
    told = {
        "ConditionExpression": _maybe_condition(draw, made),
        "ReturnValues": draw(st.sampled_from([None, "ALL_OLD"])),
    }
    return "DeleteItem", made.request(Key=draw(keys()), ReturnValuesOnConditionCheckFailure=_old(draw), **told)


@st.composite
def updates(draw: Draw) -> Call:
    made = Expressions(draw)
    told = {"UpdateExpression": made.update(may_be_invalid=True), "ConditionExpression": _maybe_condition(draw, made)}
    returned = draw(st.sampled_from([None, "ALL_NEW"]))
    return "UpdateItem", made.request(Key=draw(keys()), ReturnValues=returned, **told)


def _old(draw: Draw) -> str | None:
    chosen: str | None = draw(st.sampled_from([None, "ALL_OLD"]))
    return chosen


@st.composite
def transactions(draw: Draw) -> Call:
    chosen = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True))
    return "TransactWriteItems", {"TransactItems": [_part_of_transaction(draw, *key) for key in chosen]}


def _part_of_transaction(draw: Draw, id_: str, part: str) -> dict[str, Any]:
    made, key = Expressions(draw), attributes({"id": id_, "part": part})
    kind = draw(st.sampled_from(["Put", "Update", "Delete", "ConditionCheck"]))
    told: dict[str, Any] = {"Key": key}
    if kind == "Put":
        told = {"Item": {**draw(items()), **key}}
    if kind == "Update":
        # Whether an invalid update cancels is where moto differs.
        told["UpdateExpression"] = made.update(may_be_invalid=False)
    told["ConditionExpression"] = made.condition() if kind == "ConditionCheck" else _maybe_condition(draw, made)
    return {kind: made.request(ReturnValuesOnConditionCheckFailure=_old(draw), **told)}


@st.composite
def gets(draw: Draw) -> Call:
    return "GetItem", {"TableName": THINGS, "Key": draw(keys()), "ConsistentRead": True}


@st.composite
def batch_gets(draw: Draw) -> Call:
    chosen = draw(st.lists(st.sampled_from(KEYS), min_size=1, unique=True))
    wanted = [attributes({"id": id_, "part": part}) for id_, part in chosen]
    return "BatchGetItem", {"RequestItems": {THINGS: {"Keys": wanted, "ConsistentRead": True}}}


@st.composite
def batch_writes(draw: Draw) -> Call:
    requests = []
    for id_, part in draw(st.lists(st.sampled_from(KEYS), min_size=1, unique=True)):
        key = attributes({"id": id_, "part": part})
        is_put = draw(st.booleans())
        requests.append(
            {"PutRequest": {"Item": {**draw(items()), **key}}} if is_put else {"DeleteRequest": {"Key": key}}
        )
    return "BatchWriteItem", {"RequestItems": {THINGS: requests}}


@st.composite
def queries(draw: Draw) -> Call:
    made = Expressions(draw)
    condition = f"{made.name('id')} = {made.value(draw(st.sampled_from('ab')))}"
    sign = draw(st.sampled_from(["", "", ">", "<=", "BETWEEN", "begins_with"]))
    if sign == "begins_with":
        condition += f" AND begins_with ({made.name('part')}, {made.value('y')})"
    elif sign == "BETWEEN":
        condition += f" AND {made.name('part')} BETWEEN {made.value('x')} AND {made.value('y')}"
    elif sign:
        condition += f" AND {made.name('part')} {sign} {made.value('y')}"
    return "Query", made.request(KeyConditionExpression=condition, **_page(draw, made), ConsistentRead=True)


@st.composite
def index_queries(draw: Draw) -> Call:
    made = Expressions(draw)
    condition = f"{made.name('kind')} = {made.some('kind')}"
    if draw(st.booleans()):
        condition += f" AND {made.name('rank')} >= {made.some('rank')}"
    forward = draw(st.booleans())
    told = {"IndexName": "listing", "ScanIndexForward": forward, "Limit": draw(st.sampled_from([None, 1, 2]))}
    return "Query", made.request(KeyConditionExpression=condition, **told)


@st.composite
def scans(draw: Draw) -> Call:
    made = Expressions(draw)
    told = _page(draw, made)
    told.pop("ScanIndexForward")
    return "Scan", made.request(ConsistentRead=True, **told)


def _page(draw: Draw, made: Expressions) -> dict[str, Any]:
    return {
        "FilterExpression": _maybe_condition(draw, made),
        "Limit": draw(st.sampled_from([None, 1, 2, 3])),
        "ScanIndexForward": draw(st.booleans()),
    }


RESTART: Call = ("restart", {})
"""A database that has a file is closed and opened again."""
OPERATIONS = st.one_of(
    puts(), puts(), updates(), updates(), updates(), deletes(), transactions(), transactions(), gets(), batch_gets(),
    batch_writes(), queries(), index_queries(), scans(), st.just(RESTART),
)  # fmt: skip
