"""Where moto and dynoxide differ from DynamoDB, each with a reason; every entry is tested to differ still.

An entry that no longer differs fails the suite: then the peer has been mended, and the entry can go. Our own engine has
no entries.
"""

from __future__ import annotations

MOTO: dict[str, dict[str, tuple[str, ...]]] = {
    "numbers are compared with texts by Python, which raises TypeError": {
        "conditions": ("compared: 1 < '2' is False", "BETWEEN two types is refused"),
    },
    "bytes are base64 text while conditions read them": {
        "conditions": ("begins_with bytes", "contains a part of bytes"),
    },
    "size() of what has no size raises ValueError": {
        "conditions": ("size of an absent attribute fails", "size of a number fails"),
    },
    "a malformed condition raises KeyError or ValueError instead of ValidationException": {
        "conditions": (
            "a reserved word is refused",
            "a value that is not given is refused",
            "a name that is not given is refused",
            "a syntax error is refused",
            "an unknown function is refused",
            "a function with too many operands is refused",
            "attribute_exists of a value is refused",
            "a condition is no operand",
        ),
        "updates": ("a name that is not given is refused",),
        "reads": ("a scan with an unknown placeholder is refused",),
    },
    "conditions are not validated before they are evaluated": {
        "conditions": (
            "attribute_type without such a type",
            "begins_with a number is refused",
            "BETWEEN in the wrong order is refused",
            "an empty expression is refused",
            "a value that is not used is refused",
            "values without an expression are refused",
            "an attribute compared with itself is refused",
        ),
    },
    "the parser of updates knows neither nested functions nor a sum's limit of two operands": {
        "updates": ("if_not_exists within if_not_exists", "a sum of three is refused"),
    },
    "an update without an expression raises AttributeError": {
        "updates": ("no expression makes the item", "no expression changes nothing"),
        "values": ("a UpdateItem with an empty key is refused",),
    },
    "a path below a number is ignored": {"updates": ("SET below a number is refused",)},
    "elements past a list's end are appended in the order of the expression": {
        "updates": ("SET two past the end appends both in order",),
    },
    "numbers keep the text that was sent, and are not checked": {
        "updates": (
            "a sum has no trailing zeros",
            "ADD to a set of numbers knows equal ones",
            "DELETE from a set of numbers",
        ),
        "values": (
            "the number 1.0 is 1",
            "the number 01 is 1",
            "the number -0 is 0",
            "the number 0.0 is 0",
            "the number -1.50 is -1.5",
            "the number .5 is 0.5",
            "the number 1e2 is 100",
            "the number 1E+2 is 100",
            "the number 12.5e-1 is 1.25",
            "the number 1e-5 is 0.00001",
            "the number 1e20 is 100000000000000000000",
            f"the number {'1' * 39} is refused",
            f"the number 0.{'1' * 39} is refused",
            f"the number 1{'0' * 37}1 is refused",
            "the number 1e126 is refused",
            "the number -1e126 is refused",
            "the number 1_000 is refused",
            "numbers in a list and a map",
            "numbers in a set",
            "an update that overflows is refused",
            "a number of no form in a set is refused",
        ),
    },
    "sets and types of attributes are not checked": {
        "values": (
            "an empty set BS is refused",
            "a set SS with 'x' and 'x' is refused",
            "a set NS with '1' and '1' is refused",
            "a set NS with '1' and '1.0' is refused",
            "a set BS with b'x' and b'x' is refused",
            "an attribute of two types is refused",
            "an attribute without a type is refused",
        ),
    },
    "types of keys are checked for some operations only": {
        "values": (
            "empty bytes as a key are refused",
            "a GetItem with a key of another type is refused",
            "a DeleteItem with a key of another type is refused",
            "a DeleteItem with an empty key is refused",
            "an index key of another type is refused",
        ),
        "reads": ("a query with a key of another type is refused",),
    },
    "an item's size is that of its JSON": {"values": ("an item of 400 KB", "an update to nearly 400 KB")},
    "the limits of a batch, and duplicates in it, are not checked": {
        "several": (
            "a batch of 26 writes is refused",
            "a batch of no writes is refused",
            "a batch of no tables is refused",
            "a batch that puts an item twice is refused",
            "a batch that puts and deletes an item is refused",
            "a batch of no reads is refused",
            "a transaction of no items is refused",
            "an item of a transaction with no action is refused",
        ),
    },
    "a batch writes what comes before a wrong item": {
        "several": (
            "a batch with a wrong item writes nothing",
            "a batch with an item of more than 400 KB writes nothing",
        ),
    },
    "what is invalid in a transaction is no reason of its cancellation": {
        "several": (
            "an update of a transaction that is invalid by what is stored cancels it",
            "an update of a transaction to more than 400 KB cancels it",
            "an update of a transaction to an index key of another type cancels it",
            "a transaction with half a key is refused",
        ),
    },
    "ClientRequestToken is ignored": {
        "several": (
            "a transaction that is sent again is done once",
            "a token of another transaction is refused",
            "a token of 37 characters is refused",
        ),
    },
    "key conditions are not validated": {
        "reads": (
            "a query with OR is refused",
            "a query where a range key differs is refused",
            "a query with two conditions on its range key is refused",
            "a filter on a key is refused",
        ),
    },
    "a limit of zero raises IndexError": {
        "reads": ("a limit of zero is refused", "a scan with a limit of zero is refused"),
    },
    "a start key is not validated": {
        "reads": (
            "a start of half a key is refused",
            "a start with another hash key is refused",
            "a start of another type is refused",
            "a start in an index without the table's key is refused",
            "a start in an index with another hash key is refused",
            "a scan with a start of half a key is refused",
        ),
    },
    "an unknown index is ResourceNotFoundException": {"reads": ("a query of an unknown index is refused",)},
    "a scan whose limit is the last item has no last key": {"reads": ("a scan with a limit has a last key",)},
    "overlapping paths of a projection are accepted": {"reads": ("a get of m, m.a",)},
    "capacity is a constant": {
        "reads": (
            "a consistent read of up to 4 KB is a unit",
            "a consistent read of more than 4 KB is two units",
            "a write of more than 1 KB is two units",
            "a write to a larger item costs its former size",
            "a query costs the sum of the sizes",
        ),
    },
}

DYNOXIDE: dict[str, dict[str, tuple[str, ...]]] = {
    "an unknown name of a type is never an attribute's type": {"conditions": ("attribute_type without such a type",)},
    "placeholders that are not used are noticed only after the condition holds": {
        "conditions": ("a value that is not used is refused", "a name that is not used is refused"),
    },
    "operands may be the same": {"conditions": ("an attribute compared with itself is refused",)},
    "a list is filled with NULL up to an element past its end": {
        "updates": ("SET past the end appends", "SET two past the end appends both in order"),
    },
    "elements are removed one after the other, and the later ones have moved": {"updates": ("REMOVE two elements",)},
    "numbers of a set are compared as texts": {
        "updates": ("ADD to a set of numbers knows equal ones", "DELETE from a set of numbers"),
    },
    "ALL_OLD of a new item is its key": {"updates": ("an update that makes an item has no old attributes",)},
    "an item of a transaction may have two actions": {
        "several": ("an item of a transaction with two actions is refused",),
    },
    "a syntax error cancels a transaction": {"several": ("a transaction with a syntax error is refused",)},
    "keys of a query are not validated": {
        "reads": (
            "a query with a key of another type is refused",
            "a query with an empty hash key is refused",
            "a start with another hash key is refused",
            "a start in an index with another hash key is refused",
        ),
    },
}


def names(differences: dict[str, dict[str, tuple[str, ...]]], group: str) -> set[str]:
    return {name for reason in differences.values() for name in reason.get(group, ())}
