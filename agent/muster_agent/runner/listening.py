"""Where models listen: the host's addresses that `--address` means at the moment.

An address may be away for a while: a VPN is down, a DHCP lease changed, a name does not resolve at boot. That ends
nothing: models that run are left alone, models that are to start wait, and the condition AddressMissing says why.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from threading import Lock

from muster.api import addresses
from muster.api.addresses import Kind
from muster.api.conditions import ConditionType
from muster_agent.conditions import OBSERVATIONS_TO_SET, Conditions
from muster_agent.config import LOOPBACK, Rebind, is_loopback
from muster_agent.engines.base import EngineError
from muster_agent.host import facts

Resolve = Callable[[str], list[str]]

MAX_LISTED_ADDRESSES = 16
"""Addresses of this host that a message lists."""


@dataclass(frozen=True)
class _Found:
    """What the last look found: addresses of this host to listen at, or what is missing."""

    binds: tuple[str, ...]
    missing: str | None = None


class Listening:
    """Used by any thread. `address` is the owner's setting, which settings.check_address has seen; `ours` returns the
    addresses of this host, `resolve` those of a name (OSError where it has none).

    `rebind` says what becomes of a running model that listens at another address: it is restarted, or left there.
    """

    def __init__(
        self,
        address: str | None,
        conditions: Conditions,
        *,
        rebind: Rebind = "restart",
        ours: Callable[[], Collection[str]] = facts.local_addresses,
        resolve: Resolve = facts.resolve,
    ) -> None:
        self.address = address
        self.rebind = rebind
        self._conditions = conditions
        self._ours = ours
        self._resolve = resolve
        self._lock = Lock()
        self._found: _Found | None = None
        self._missed = 0

    def refresh(self) -> None:
        """Work it out anew, and note whether an address is missing. May wait for name resolution."""
        before = self._found
        found = self._look(before.binds if before else ())
        with self._lock:
            self._found = found
            self._missed = self._missed + 1 if found.missing else 0
        if found.missing:
            self._conditions.trouble(ConditionType.ADDRESS_MISSING, found.missing)
        else:
            self._conditions.in_order(ConditionType.ADDRESS_MISSING)

    def bind(self) -> str:
        """The address for the next model. Raises EngineError ADDRESS_MISSING."""
        found = self._latest()
        if found.missing:
            raise EngineError("ADDRESS_MISSING", found.missing)
        return found.binds[0]

    def is_missing(self) -> bool:
        """Whether the last look found no address of this host to listen at."""
        return self._latest().missing is not None

    def is_here(self, bind: str) -> bool:
        """Whether this host has the address `bind` at this moment: without it nobody can ask a model there."""
        return is_loopback(bind) or bind.partition("%")[0] in self._ours()

    def fits(self, bind: str | None) -> bool | None:
        """Whether a model at `bind` listens where `--address` means; None while that cannot be told."""
        if bind is None:
            return None
        wanted = self._fixed() or self._latest().binds
        return _same(bind, wanted) if wanted else None

    def reach(self, bind: str | None, last: str) -> str:
        """The worker's address, if a model at `bind` can be reached by it; empty if it cannot be.

        `last` is the answer to stay with while nobody can tell.
        """
        fits = self.fits(bind)
        if fits is False or self._missed >= OBSERVATIONS_TO_SET:
            return ""
        return last if fits is None else self.address or ""

    def _latest(self) -> _Found:
        if self._found is None:
            self.refresh()
        assert self._found is not None, "refresh sets what it found"
        return self._found

    def _fixed(self) -> tuple[str, ...]:
        """What is known without asking anybody; empty for a name."""
        if self.address is None or "{port}" in self.address:
            return (LOOPBACK,)
        return _as_ip(self.address.strip("[]"))

    def _look(self, before: tuple[str, ...]) -> _Found:
        """`before` is what models listened at: where a name means several addresses of this host, it stays."""
        if self.address is None or "{port}" in self.address:
            return _Found((LOOPBACK,))
        try:
            results = list(self._fixed()) or self._resolve(self.address)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            return _Found((), self._missing_message(f"{self.address} does not resolve ({why})"))
        ours = self._ours()
        here = [ip for ip in dict.fromkeys(results) if _usable(ip) and (ip in ours or is_loopback(ip))]
        here.sort(key=lambda ip: (is_loopback(ip), ip not in before[:1], ":" in ip))  # IPv4 as gateways do
        if here:
            return _Found(tuple(here))
        if self._fixed():
            return _Found((), self._missing_message(f"{self.address} is no address of this host", ours))
        listed = ", ".join(sorted(set(results))[:MAX_LISTED_ADDRESSES]) or "nothing"
        resolved = f"{self.address} resolves to {listed}"
        return _Found((), self._missing_message(f"{resolved}, which no interface of this host has", ours))

    def _missing_message(self, what: str, ours: Iterable[str] = ()) -> str:
        has = ", ".join(sorted(ip for ip in ours if addresses.of_host(ip).kind is Kind.ORDINARY)[:MAX_LISTED_ADDRESSES])
        return (
            f"--address {what}{f'; the host has {has}' if has else ''}. Models that run are left alone, and new ones"
            " wait. Bring the address back, or start the agent with another --address"
        )


def _usable(ip: str) -> bool:
    """Every result of a name is checked: nothing of ours listens at a link-local or multicast address."""
    return addresses.of_host(ip).kind in (Kind.ORDINARY, Kind.LOOPBACK)


def _as_ip(text: str) -> tuple[str, ...]:
    try:
        return (str(ipaddress.ip_address(text)),)
    except ValueError:
        return ()


def _same(bind: str, wanted: Iterable[str]) -> bool:
    plain = addresses.of_host(bind).host or bind
    return any(plain == (addresses.of_host(address).host or address) for address in wanted)
