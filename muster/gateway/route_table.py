"""The routes that are valid now, as tables: which replicas serve a model, and whose key a secret is.

    control plane or file ── update(Routes) ──► RouteTable.current: Tables, never changed, replaced as a whole
                                                     │
    proxy ── replicas(model), starting(model), caller(secret), wait_change() ──┘

All of it belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from muster.api.gateways import Caller, Replica, Routes, StartingModel
from muster.gateway.trust import Trust

T = TypeVar("T", Replica, StartingModel)

MAX_SECRET_LENGTH = 512
"""Characters of a secret. Nothing longer is hashed."""


@dataclass(frozen=True)
class Tables:
    """What `Routes` contains, by what it is looked up."""

    replicas: Mapping[str, tuple[Replica, ...]] = field(default_factory=dict)
    starting: Mapping[str, tuple[StartingModel, ...]] = field(default_factory=dict)
    callers: Mapping[str, Caller] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    key_ids: frozenset[str] = frozenset()
    deployment_ids: frozenset[str] = frozenset()

    @classmethod
    def of(cls, routes: Routes) -> Tables:
        """If two callers have one digest, which cannot happen, the first one counts."""
        replicas = _by_model(routes.replicas)
        callers: dict[str, Caller] = {}
        for caller in routes.callers:
            callers.setdefault(caller.digest.lower(), caller)
        return cls(
            replicas=MappingProxyType(replicas),
            starting=MappingProxyType(_by_model(routes.starting)),
            callers=MappingProxyType(callers),
            models=tuple(sorted(replicas)),
            key_ids=frozenset(caller.key_id for caller in routes.callers),
            deployment_ids=frozenset(replica.deployment_id for replica in routes.replicas),
        )


class RouteTable:
    """The routes as of the last poll. It is empty before the first one."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._current = Tables()
        self._waiting: set[asyncio.Future[bool]] = set()
        self._observers: list[Callable[[Tables], object]] = []

    @property
    def current(self) -> Tables:
        return self._current

    def update(self, routes: Routes) -> None:
        """Replace the routes, and wake all who wait for a change."""
        self._current = Tables.of(routes)
        self._changed()

    def clear(self) -> None:
        """Forget all routes: the gateway's key was revoked."""
        self._current = Tables()
        self._changed()

    def on_change(self, observer: Callable[[Tables], object]) -> None:
        """Call `observer` after each change, on the event loop. It must not raise."""
        self._observers.append(observer)

    # What the proxy asks

    def replicas(self, model: str) -> tuple[Replica, ...]:
        """The deployments that serve the model; none while the gateway serves nobody."""
        return self._current.replicas.get(model, ()) if self._trust.serves() else ()

    def starting(self, model: str) -> tuple[StartingModel, ...]:
        return self._current.starting.get(model, ()) if self._trust.serves() else ()

    def models(self) -> list[str]:
        """The names that have replicas, in their order."""
        return list(self._current.models) if self._trust.serves() else []

    def is_known(self, model: str) -> bool:
        """Whether the routes name the model: only such names become labels of metrics."""
        return model in self._current.replicas or model in self._current.starting

    def caller(self, secret: str, now: float) -> Caller | None:
        """Whose key the secret is; None for a key that is unknown or expired. `now`: epoch seconds.

        What is looked up is the digest of what came, so the time that it takes says nothing about the keys.
        """
        if not secret or len(secret) > MAX_SECRET_LENGTH:
            return None
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
        caller = self._current.callers.get(digest)
        if caller is None or not hmac.compare_digest(caller.digest.lower().encode(), digest.encode()):
            return None
        return caller if self._trust.honors(caller.expires_at, now) else None

    async def wait_change(self, timeout: float) -> bool:
        """Wait until the routes change. Returns whether they did within `timeout` seconds."""
        loop = asyncio.get_running_loop()
        change: asyncio.Future[bool] = loop.create_future()
        late = loop.call_later(timeout, _resolve, change, False)
        self._waiting.add(change)
        try:
            return await change
        finally:
            late.cancel()
            self._waiting.discard(change)

    def _changed(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for change in waiting:
            _resolve(change, True)
        for observer in self._observers:
            observer(self._current)


def _resolve(future: asyncio.Future[bool], value: bool) -> None:
    if not future.done():
        future.set_result(value)


def _by_model(rows: Iterable[T]) -> dict[str, tuple[T, ...]]:
    found: dict[str, list[T]] = {}
    for row in rows:
        found.setdefault(row.model, []).append(row)
    return {model: tuple(each) for model, each in found.items()}
