"""DynamoDB's answers are read as botocore reads them, whatever is in them."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from botocore.parsers import JSONParser
from botocore.session import get_session
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.store import tables
from chalicelib.store.answers import AnswerParser, AnswerParsers

texts = st.text(max_size=8)
numbers = st.integers().map(str)
blobs = st.binary(max_size=8).map(lambda content: base64.b64encode(content).decode())
leaves: Any = st.one_of(
    texts.map(lambda value: {"S": value}),
    numbers.map(lambda value: {"N": value}),
    blobs.map(lambda value: {"B": value}),
    st.booleans().map(lambda value: {"BOOL": value}),
    st.just({"NULL": True}),
    st.lists(texts, min_size=1, max_size=3).map(lambda value: {"SS": value}),
    st.lists(numbers, min_size=1, max_size=3).map(lambda value: {"NS": value}),
    st.lists(blobs, min_size=1, max_size=3).map(lambda value: {"BS": value}),
)
attributes: Any = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda value: {"L": value})
        | st.dictionaries(texts, inner, max_size=3).map(lambda value: {"M": value})
    ),
    max_leaves=6,
)
items = st.dictionaries(texts, attributes, max_size=5)


@pytest.fixture(scope="module")
def service() -> Any:
    return get_session().get_service_model("dynamodb")


def both(operation: Any, body: dict[str, Any]) -> tuple[Any, Any]:
    """As this module and as botocore read it."""
    answer = {"status_code": 200, "headers": {}, "body": msgspec.json.encode(body)}
    own, theirs = (parser().parse(dict(answer), operation.output_shape) for parser in (AnswerParser, JSONParser))
    return own, theirs


@given(found=st.lists(items, max_size=3), key=items)
def test_items_are_what_botocore_makes_of_them(service: Any, found: list[Any], key: Any) -> None:
    read = {"Responses": {"muster-workers": found}, "UnprocessedKeys": {"muster-workers": {"Keys": [key]}}}
    own, theirs = both(service.operation_model("BatchGetItem"), read)
    assert own == theirs
    scanned = {"Items": found, "Count": len(found), "LastEvaluatedKey": key, "ConsumedCapacity": {"CapacityUnits": 0.5}}
    own, theirs = both(service.operation_model("Scan"), scanned)
    assert own == theirs
    own, theirs = both(service.operation_model("UpdateItem"), {"Attributes": key})
    assert own == theirs


@pytest.mark.parametrize("attribute", [{}, {"X": 1}, {"S": None}, {"S": "a", "N": "1"}, None])
def test_what_no_attribute_looks_like_is_left_to_botocore(service: Any, attribute: Any) -> None:
    own, theirs = both(service.operation_model("GetItem"), {"Item": {"a": attribute}})
    assert own == theirs or attribute == {"S": None}


def test_every_model_reads_with_it(database: object) -> None:
    del database
    tables.WorkerRecord._connection = None
    session = tables.WorkerRecord._get_connection().connection.session
    assert isinstance(session.get_component("response_parser_factory"), AnswerParsers)


def test_another_protocol_is_botocores_own() -> None:
    assert type(AnswerParsers().create_parser("json")) is AnswerParser
    assert not isinstance(AnswerParsers().create_parser("rest-xml"), AnswerParser)
