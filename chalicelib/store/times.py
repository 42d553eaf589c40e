"""Epoch seconds, as they are stored, to the RFC 3339 of the wire."""

from __future__ import annotations

from datetime import datetime, timezone


def when(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, timezone.utc)
