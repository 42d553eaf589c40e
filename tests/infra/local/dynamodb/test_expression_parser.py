"""The grammar of expressions. What DynamoDB answers to each of them is in cases/."""

from __future__ import annotations

import pytest

from infra.local.dynamodb.expression_parser import Action, Between, Both, Comparison, Either, Not, Parser, Sum, Value
from infra.local.dynamodb.expression_parser import PathOperand as At
from infra.local.dynamodb.refusals import Refused

WRONG = """
a|a =|a = :v b = :v|a = :v AND|a == :v|a ! :v|(a = :v|a = 'x'|a[x] = :v|a. = :v|a IN :v|a IN ()|begins_with(a)
begins_with(a, :v|nothing(a, :v)|size(a)|if_not_exists(a, :v)|a = :v; b = :v|#m = :v|value = :v|((a = :v))
""".replace("\n", "|").split("|")
"""The first and the last are empty."""


def parser(text: str, **names: str) -> Parser:
    return Parser("ConditionExpression", text, {f"#{name}": value for name, value in names.items()})


def test_not_binds_more_than_and_and_and_more_than_or() -> None:
    one, two, three = (Comparison("=", At((name,)), Value(":v")) for name in "abc")
    assert parser("NOT a = :v AND b = :v OR c = :v").condition() == Either((Both((Not(one), two)), three))
    assert parser("a = :v AND (b = :v OR c = :v)").condition() == Both((one, Either((two, three))))


def test_the_and_of_between_is_its_own() -> None:
    found = parser("a BETWEEN :x AND :y AND b = :v").condition()
    assert found == Both((Between(At(("a",)), Value(":x"), Value(":y")), Comparison("=", At(("b",)), Value(":v"))))


def test_paths_have_names_placeholders_and_indexes() -> None:
    read = parser("#m.parts[2][0].#n", m="a.b", n="size")
    assert read.projection() == [("a.b", "parts", 2, 0, "size")]
    assert read.used_names == {"#m", "#n"}


def test_an_update_has_its_actions_in_order() -> None:
    actions = parser("SET a = a + :n, b = :v REMOVE c DELETE d :s").update()
    assert actions == [
        Action("SET", ("a",), Sum("+", At(("a",)), Value(":n"))),
        Action("SET", ("b",), Value(":v")),
        Action("REMOVE", ("c",), None),
        Action("DELETE", ("d",), Value(":s")),
    ]


@pytest.mark.parametrize("text", WRONG)
def test_a_text_outside_of_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parser(text).condition()
    assert refused.value.code == "ValidationException"
    assert refused.value.message.startswith("Invalid ConditionExpression: ")


def test_an_expression_without_end_is_refused() -> None:
    with pytest.raises(Refused):
        parser("(" * 4000).condition()


def test_a_syntax_error_names_its_token_and_what_is_near() -> None:
    with pytest.raises(Refused, match=r'token: "b", near: ":v b ="'):
        parser("a = :v b = :w").condition()
