"""Pages of a listing: an opaque token in, items in order and the next token out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
from pynamodb.exceptions import QueryError
from pynamodb.models import Model

from chalicelib.contract import resources as r
from chalicelib.contract.errors import ApiError
from chalicelib.tables import find_all

M = TypeVar("M", bound=Model)
Key = dict[str, dict[str, str]]


def encode(key: Key | None) -> str | None:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode() if key else None


def decode(token: str | None) -> Key | None:
    if not token:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(token.encode("ascii")), type=Key)
    except (ValueError, binascii.Error) as error:
        raise ApiError("INVALID_REQUEST", "next_token: expected a token from an earlier page") from error


def page(
    model: Any, kind: str, query: r.PageQuery, keep: Callable[[Any], bool] = lambda _: True
) -> tuple[list[Any], str | None]:
    """Up to `limit` items of `kind` that `keep` takes, in rank order, as they are now."""
    key_name = model._hash_keyname
    kept: list[Any] = []
    start = decode(query.next_token)
    while True:
        keys = _keys(model, kind, start, query.limit)
        ids = [entry[key_name]["S"] for entry in keys]
        found = {item.attribute_values[key_name]: item for item in find_all(model, _primary(model, ids))}
        for entry in keys:
            item = found.get(entry[key_name]["S"])
            if item is not None and keep(item):
                kept.append(item)
                if len(kept) == query.limit:
                    return kept, encode(entry) if entry is not keys[-1] or len(keys) == query.limit else None
        if len(keys) < query.limit:
            return kept, None
        start = keys[-1]


def _keys(model: Any, kind: str, start: Key | None, limit: int) -> list[Key]:
    """The next `limit` keys of the listing index, each in the form that a query starts after."""
    names = [model._hash_keyname, *([model._range_keyname] if model._range_keyname else []), "kind", "rank"]
    with starting_from(start):
        found = model.listing.query(kind, limit=limit, last_evaluated_key=start)
        return [{name: {"S": str(item.attribute_values[name])} for name in names} for item in found]


@contextmanager
def starting_from(start: Key | None) -> Iterator[None]:
    """A query that the engine refuses because of a made-up start is the caller's mistake, not ours."""
    try:
        yield
    except QueryError as error:
        if start and error.cause_response_code == "ValidationException":
            raise ApiError("INVALID_REQUEST", "next_token: expected a token from an earlier page") from error
        raise


def _primary(model: Any, ids: list[str]) -> list[Any]:
    return [(item, "cold") for item in ids] if model._range_keyname else list(ids)
