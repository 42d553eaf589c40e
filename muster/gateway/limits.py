"""What one API key may use: requests and tokens in any minute, and tokens in a day in UTC.

    admit(caller, now) ──► allowed: the request counts at once
            │         └──► refused: 429 with Retry-After, which counts nothing
            ▼
    settle(caller, tokens, now): the tokens of an answer count when they are known

Tokens are known only in the end, so requests that run when a limit is reached are finished, and a key may pass its
limit of tokens by what its running requests use. Limits are of one gateway: two gateways admit twice as much. The
minutes are sliding windows, which a restart empties; the day's tokens come back from the ledger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Literal

from muster.api.gateways import Caller
from muster.gateway.windows import Window

Limit = Literal["rpm", "tpm", "tpd"]
Headers = list[tuple[bytes, bytes]]

DAY_SECONDS = 86400
PROBLEMS: dict[Limit, str] = {
    "rpm": "requests per minute",
    "tpm": "tokens per minute",
    "tpd": "tokens per day",
}


@dataclass(frozen=True)
class Verdict:
    """Whether a request may pass. `headers` belong to its answer in any case.

    `retry_after` (seconds) is set if the request was refused, with the `limit` that refused it and a `message` that
    says what to do.
    """

    allowed: bool
    headers: Headers
    retry_after: float | None = None
    limit: Limit | None = None
    message: str = ""


@dataclass
class _Used:
    """What a key used. `day` counts days since the epoch, `today` the tokens of that day."""

    requests: Window = field(default_factory=Window)
    tokens: Window = field(default_factory=Window)
    day: int = -1
    today: int = 0


class Limits:
    """`tokens_of_day(key_id, day)` returns what the ledger has for a key; `day` as days since the epoch.

    `now` is epoch seconds. If the clock is set back, what was counted stays for as long as it would have. Memory is
    bounded by the keys that `keep` names, each with at most 122 counts.
    """

    def __init__(self, tokens_of_day: Callable[[str, int], int] = lambda key_id, day: 0) -> None:
        self._tokens_of_day = tokens_of_day
        self._used: dict[str, _Used] = {}
        self._latest = 0.0

    def admit(self, caller: Caller, now: float) -> Verdict:
        """Count a request, unless one of the key's limits is reached."""
        if caller.rpm is None and caller.tpm is None and caller.tpd is None:
            return Verdict(True, [])
        now = self._passed(now)
        used = self._of(caller.key_id, now)
        reached = self._reached(caller, used, now)
        if reached is None:
            used.requests.add(1, now)
            return Verdict(True, self._headers(caller, used, now))
        limit, retry_after = reached
        most = getattr(caller, limit)
        message = f"API key {caller.name!r} is limited to {most} {PROBLEMS[limit]}; try again in {_span(retry_after)}"
        return Verdict(False, self._headers(caller, used, now), retry_after, limit, message)

    def settle(self, caller: Caller, tokens: int, now: float) -> None:
        """Count the tokens that an admitted request used."""
        if tokens <= 0 or (caller.tpm is None and caller.tpd is None):
            return
        now = self._passed(now)
        used = self._of(caller.key_id, now)
        used.tokens.add(tokens, now)
        used.today += tokens

    def keep(self, key_ids: Collection[str]) -> None:
        """Forget what every other key used: those keys were revoked."""
        for key_id in self._used.keys() - set(key_ids):
            del self._used[key_id]

    @property
    def count(self) -> int:
        """The number of keys whose use is remembered."""
        return len(self._used)

    def _passed(self, now: float) -> float:
        self._latest = max(self._latest, now)
        return self._latest

    def _of(self, key_id: str, now: float) -> _Used:
        used = self._used.get(key_id)
        if used is None:
            used = self._used[key_id] = _Used()
        day = int(now // DAY_SECONDS)
        if used.day != day:
            used.day, used.today = day, self._tokens_of_day(key_id, day)
        used.requests.expire(now)
        used.tokens.expire(now)
        return used

    def _reached(self, caller: Caller, used: _Used, now: float) -> tuple[Limit, float] | None:
        """The limit that is reached and the seconds until it is not; of several, the one that lasts longest."""
        found: list[tuple[Limit, float]] = []
        if caller.rpm is not None and used.requests.total >= caller.rpm:
            found.append(("rpm", used.requests.free_in(caller.rpm - 1, now) if caller.rpm else DAY_SECONDS))
        if caller.tpm is not None and used.tokens.total >= caller.tpm:
            found.append(("tpm", used.tokens.free_in(caller.tpm - 1, now) if caller.tpm else DAY_SECONDS))
        if caller.tpd is not None and used.today >= caller.tpd:
            found.append(("tpd", (used.day + 1) * DAY_SECONDS - now))
        return max(found, key=lambda each: each[1]) if found else None

    def _headers(self, caller: Caller, used: _Used, now: float) -> Headers:
        """OpenAI's headers. Those of tokens are about the day if no minute is limited, or less is left of the day."""
        headers: Headers = []
        if caller.rpm is not None:
            headers += _three(b"requests", caller.rpm, used.requests.total, used.requests.free_in(0, now))
        of_minute = None if caller.tpm is None else caller.tpm - used.tokens.total
        of_day = None if caller.tpd is None else caller.tpd - used.today
        if caller.tpd is not None and of_day is not None and (of_minute is None or of_day < of_minute):
            headers += _three(b"tokens", caller.tpd, used.today, (used.day + 1) * DAY_SECONDS - now)
        elif caller.tpm is not None:
            headers += _three(b"tokens", caller.tpm, used.tokens.total, used.tokens.free_in(0, now))
        return headers


def _three(what: bytes, most: int, used: int, reset: float) -> Headers:
    return [
        (b"x-ratelimit-limit-" + what, b"%d" % most),
        (b"x-ratelimit-remaining-" + what, b"%d" % max(0, most - used)),
        (b"x-ratelimit-reset-" + what, _span(reset).encode()),
    ]


def _span(seconds: float) -> str:
    """As OpenAI writes it: 1s, 6m0s, 23h59m59s. Rounded up, so that nobody comes too early."""
    whole = max(0, math.ceil(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
