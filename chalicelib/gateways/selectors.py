"""Which workers a gateway serves: those that have all labels of its selector, as `site=lab,gpu=h200`."""

from __future__ import annotations

from collections.abc import Mapping

from muster.api.errors import ApiError


def parsed(text: str | None) -> dict[str, str]:
    """The labels by name; none for all workers. Raises INVALID_REQUEST."""
    pairs = [pair.partition("=") for pair in (text or "").split(",") if pair]
    if not all(name and equals for name, equals, _ in pairs):
        raise ApiError("INVALID_REQUEST", "selector: expected NAME=VALUE, several with commas between them")
    return {name: value for name, _, value in pairs}


def accepts(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return selector.items() <= labels.items()
