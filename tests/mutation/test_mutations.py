"""Each small change that a reader could have written by mistake is made once; what only people read stays."""

import ast

import pytest

from tests.mutation.mutations import mutations


def changes(source: str) -> list[str]:
    return [f"{each.before} -> {each.after}" for each in mutations(source)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a = b < c", ["b < c -> b <= c"]),
        ("a = b is not c", ["b is not c -> b is c"]),
        ("a = b < c <= d", ["b < c <= d -> b <= c <= d", "b < c <= d -> b < c < d"]),
        ("a = b and c", ["b and c -> b or c"]),
        ("a = not b", ["not b -> b"]),
        ("a = b + c", ["b + c -> b - c"]),
        ("a = 1", ["1 -> 2"]),
        ("a = True", ["True -> False"]),
        ("a = 'code'", ["'code' -> 'not code'"]),
        ("if a:\n    b = c", ["a -> not a"]),
        ("a = b if c else d", ["c -> not c"]),
        ("f()", ["f() -> pass"]),
        ("a += b", ["a += b -> pass"]),
        ("def f():\n    return a", ["return a -> return None"]),
        ("def f():\n    raise a", ["raise a -> pass"]),
        ("@dataclass(frozen=True)\nclass A:\n    pass", ["True -> False"]),
        ("while a:\n    break", ["break -> continue", "a -> not a"]),
    ],
)
def test_a_change_is_made_of(source: str, expected: list[str]) -> None:
    assert changes(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring."""',
        "a = 'a message for people'",
        "a = f'a message with {b}'",
        "log.warning('disk', 1)",
        "a: Literal['x', 1]",
        "def f(a: 'x') -> 'y':\n    return None",
        "from a import b",
    ],
)
def test_what_only_people_or_type_checkers_read_is_left(source: str) -> None:
    assert changes(source) == []


def test_each_mutation_is_a_module_that_differs_in_one_place() -> None:
    source = (
        "class A:\n    def f(self, x=1):\n        if x > 1 and x:\n            return x + 1\n        return x + 1\n"
    )
    made = list(mutations(source))
    assert len({each.source for each in made}) == len(made) == 11
    assert ast.unparse(ast.parse(source)) not in {each.source for each in made}
    assert len({each.key for each in made}) == len(made), "equal changes of one function are numbered"
    assert {each.where for each in made} == {"A.f"}
    assert [each.line for each in made if each.after == "return None"] == [4, 5]
