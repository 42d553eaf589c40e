"""What callers used, by day: each ledger of a gateway has its own sums, which only grow, and reading adds them up.

A report replaces a sum unless it is smaller. So a report that is repeated, or arrives late, changes nothing, and a
gateway that lost its ledger goes on under another id: everything counts once, without a transaction.
"""

from __future__ import annotations

import datetime
import hashlib
from collections import defaultdict
from collections.abc import Iterator

from chalicelib.gateways import caller_keys
from chalicelib.store.items import update_if
from chalicelib.store.tables import UsageTotal
from muster.api import gateways as g
from muster.api.errors import ApiError

KEPT_SECONDS = 400 * 86400.0
MAX_DAYS = 92
DEFAULT_DAYS = 7
MAX_LATE_DAYS = 7
"""A gateway that could not report for longer has lost that day: no sum of the distant past is taken."""


def store(report: g.UsageReport, now: float) -> int:
    """Returns how many sums were stored. Raises INVALID_REQUEST for a day that is not one of the last."""
    today = _day(now)
    for total in report.sums:
        if not today - datetime.timedelta(MAX_LATE_DAYS) <= _parsed("day", total.day) <= today + datetime.timedelta(1):
            raise ApiError("INVALID_REQUEST", f"day: expected one of the last {MAX_LATE_DAYS} days, got {total.day!r}")
    return sum(_store(report.ledger_id, total, now) for total in report.sums)


def _store(ledger_id: str, total: g.UsageSum, now: float) -> bool:
    model = hashlib.sha256(total.model.encode()).hexdigest()[:16]
    item = UsageTotal(f"usage#{total.day}", f"{ledger_id}#{total.key_id}#{model}"[:1024])
    actions = [
        UsageTotal.key_id.set(total.key_id),
        UsageTotal.model.set(total.model),
        UsageTotal.requests.set(total.requests),
        UsageTotal.prompt_tokens.set(total.prompt_tokens),
        UsageTotal.completion_tokens.set(total.completion_tokens),
        UsageTotal.ttl.set(int(now + KEPT_SECONDS)),
    ]
    grows = (
        (UsageTotal.requests <= total.requests)
        & (UsageTotal.prompt_tokens <= total.prompt_tokens)
        & (UsageTotal.completion_tokens <= total.completion_tokens)
    )
    return update_if(item, actions, UsageTotal.subject.does_not_exist() | grows)


def usage(query: g.UsageQuery, now: float) -> g.Usage:
    """The sums of the days, by key, model, or day. Raises INVALID_REQUEST."""
    until = _parsed("until", query.until) if query.until else _day(now)
    since = _parsed("since", query.since) if query.since else until - datetime.timedelta(DEFAULT_DAYS - 1)
    if since > until:
        raise ApiError("INVALID_REQUEST", f"since: {since} is later than until, {until}")
    if (until - since).days >= MAX_DAYS:
        raise ApiError("INVALID_REQUEST", f"since: at most {MAX_DAYS} days can be added up at once")
    names = {caller.key_id: caller.name for caller in caller_keys.current(now)}
    sums: dict[tuple[str | None, str | None, str | None], list[int]] = defaultdict(lambda: [0, 0, 0])
    for day, total in _totals(since, until):
        key = (
            str(total.key_id) if "key" in query.by else None,
            str(total.model) if "model" in query.by else None,
            day if query.by == "day" else None,
        )
        row = sums[key]
        row[0] += int(total.requests)
        row[1] += int(total.prompt_tokens)
        row[2] += int(total.completion_tokens)
    rows = [
        g.UsageRow(requests, prompt, completion, names.get(key_id, key_id) if key_id else None, key_id, model, day)
        for (key_id, model, day), (requests, prompt, completion) in sums.items()
    ]
    rows.sort(
        key=lambda row: (row.day or "", -(row.prompt_tokens + row.completion_tokens), row.key or "", row.model or "")
    )
    return g.Usage(str(since), str(until), rows)


def _totals(since: datetime.date, until: datetime.date) -> Iterator[tuple[str, UsageTotal]]:
    for number in range((until - since).days + 1):
        day = str(since + datetime.timedelta(number))
        for total in UsageTotal.query(f"usage#{day}", consistent_read=True):
            yield day, total


def _day(now: float) -> datetime.date:
    return datetime.datetime.fromtimestamp(now, datetime.timezone.utc).date()


def _parsed(field: str, text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise ApiError("INVALID_REQUEST", f"{field}: there is no day {text!r}") from error
