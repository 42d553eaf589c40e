"""How DynamoDB's answers are read: botocore looks for each of ten types in each attribute of each item.

That is a third of the processor time of a list. An attribute has one type, which is its key.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from botocore import parsers

JSONParser: Any = parsers.JSONParser
"""Whose methods for structures and maps botocore's types leave out. If botocore renames them, the short way is not
taken, and every answer is still read."""
PLAIN = frozenset({"S", "N", "BOOL", "NULL"})
"""Types whose values in JSON are those that PynamoDB takes."""


class AnswerParser(JSONParser):  # type: ignore[misc]
    """Botocore's parser of JSON, with a short way for attributes that are text, number, or bytes."""

    def _handle_structure(self, shape: Any, value: Any) -> Any:
        if shape.name != "AttributeValue":
            return super()._handle_structure(shape, value)
        return self._attribute(shape, value)

    def _handle_map(self, shape: Any, value: Any) -> Any:
        """An item, which is a map of attributes, without a call for each name and for each shape."""
        if shape.value.name != "AttributeValue":
            return super()._handle_map(shape, value)
        return {name: self._attribute(shape.value, attribute) for name, attribute in value.items()}

    def _attribute(self, shape: Any, value: Any) -> Any:
        if isinstance(value, dict) and len(value) == 1:
            ((kind, content),) = value.items()
            if kind in PLAIN:
                return value
            if kind == "B":
                return {"B": b64decode(content)}
        return super()._handle_structure(shape, value)


class AnswerParsers(parsers.ResponseParserFactory):
    """What a session makes the parsers of its clients with."""

    def create_parser(self, protocol_name: str) -> Any:
        return AnswerParser() if protocol_name == "json" else super().create_parser(protocol_name)
