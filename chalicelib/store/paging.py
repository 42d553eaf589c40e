"""Pages of a listing: an opaque token in, items in order and the next token out."""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
from pynamodb.exceptions import QueryError
from pynamodb.models import Model

from chalicelib.store.items import find_all
from muster.api import resources as r
from muster.api.errors import ApiError

M = TypeVar("M", bound=Model)
Key = dict[str, dict[str, str]]


def encode(key: Key | None) -> str | None:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode() if key else None


def decode(token: str | None, names: Collection[str], **fixed: str) -> Key | None:
    """The key to start after. Raises INVALID_REQUEST for the token of another list: without `names`, or not `fixed`."""
    if not token:
        return None
    try:
        key = msgspec.json.decode(base64.urlsafe_b64decode(token.encode("ascii")), type=Key)
        if key.keys() != set(names) or any(key[name].get("S") != value for name, value in fixed.items()):
            raise ValueError("of another list")
        return key
    except (ValueError, RecursionError) as error:
        raise ApiError("INVALID_REQUEST", "next_token: expected the token of an earlier page of this list") from error


def page(
    model: Any,
    kind: str,
    query: r.PageQuery,
    keep: Callable[[Any], bool] = lambda _: True,
    attributes: Sequence[str] | None = None,
) -> tuple[list[Any], str | None]:
    """Up to `limit` items of `kind` that `keep` takes, in rank order, as they are now.

    `attributes` are the stored names that the items are made of, by default all: the units are the same, and the
    processor time of a page is mostly that of reading attributes.
    """
    key_name = model._hash_keyname
    kept: list[Any] = []
    start = decode(query.next_token, _names(model), kind=kind)
    while True:
        keys = _keys(model, kind, start, query.limit)
        ids = [entry[key_name]["S"] for entry in keys]
        found = {item.attribute_values[key_name]: item for item in _items(model, ids, attributes)}
        for entry in keys:
            item = found.get(entry[key_name]["S"])
            if item is not None and keep(item):
                kept.append(item)
                if len(kept) == query.limit:
                    return kept, encode(entry) if entry is not keys[-1] or len(keys) == query.limit else None
        if len(keys) < query.limit:
            return kept, None
        start = keys[-1]


def ids(model: Any, kind: str) -> Iterator[str]:
    """The hash keys of all items of `kind`, in rank order, by the index alone: it may be a moment behind."""
    start = None
    while True:
        keys = _keys(model, kind, start, r.MAX_PAGE)
        yield from (entry[model._hash_keyname]["S"] for entry in keys)
        if len(keys) < r.MAX_PAGE:
            return
        start = keys[-1]


def _keys(model: Any, kind: str, start: Key | None, limit: int) -> list[Key]:
    """The next `limit` keys of the listing index, each in the form that a query starts after.

    The index holds nothing but keys, and 500 of them are far from a page's 1 MB: no item is made of an entry.
    """
    index, names = model.listing.Meta.index_name, _names(model)
    with starting_from(start):
        answer = model._get_connection().query(kind, index_name=index, limit=limit, exclusive_start_key=start)
    return [{name: entry[name] for name in names} for entry in answer["Items"]]


def _names(model: Any) -> list[str]:
    return [model._hash_keyname, *([model._range_keyname] if model._range_keyname else []), "kind", "rank"]


@contextmanager
def starting_from(start: Key | None) -> Iterator[None]:
    """A query that the engine refuses because of a made-up start is the caller's mistake, not ours."""
    try:
        yield
    except QueryError as error:
        if start and error.cause_response_code == "ValidationException":
            raise ApiError(
                "INVALID_REQUEST", "next_token: expected the token of an earlier page of this list"
            ) from error
        raise


def _items(model: Any, ids: list[str], attributes: Sequence[str] | None) -> Iterator[Any]:
    keys = [(item, "cold") for item in ids] if model._range_keyname else list(ids)
    return find_all(model, keys, attributes)
