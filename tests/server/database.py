"""Points the models at a database, counts what reaches it, and can cut a function off between two calls."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.handlers import BUILTIN_HANDLERS

from chalicelib import tables
from infra.local_dynamodb import Engine
from infra.local_store import Store

READ_TIMEOUT, PATIENCE = tables.Meta.read_timeout_seconds, 60
"""Seconds."""


class Killed(BaseException):
    """The function was killed here; nothing in it may catch this."""


@dataclass
class Recorder:
    """The calls that reached the database: their operation and their parameters. `kill_after` of them, it dies;
    after so many, `overtake` says what another function does before the next.

    `keeps`: whether calls are kept outside of `counting`; not by the million.
    """

    engine: Engine | None
    keeps: bool = True
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    kill_after: int | None = None
    overtake: tuple[int, Callable[[], object]] | None = None

    def __call__(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        if self.kill_after is not None:
            if self.kill_after <= 0:
                raise Killed
            self.kill_after -= 1
        if self.overtake is not None:
            left, another = self.overtake
            self.overtake = (left - 1, another) if left else None
            if not left:
                another()
        if self.keeps:
            target = request.headers["X-Amz-Target"]
            operation = (target.decode() if isinstance(target, bytes) else target).rpartition(".")[2]
            body = request.body if isinstance(request.body, bytes | str) else b"{}"
            self.calls.append((operation, json.loads(body or b"{}")))
        return self.engine(request) if self.engine else None

    @contextlib.contextmanager
    def counting(self) -> Iterator[list[tuple[str, dict[str, Any]]]]:
        """The calls made inside."""
        before, kept = self.calls, self.keeps
        self.calls, self.keeps = [], True
        yield self.calls
        self.calls, self.keeps = [*before, *self.calls] if kept else before, kept


class Switch:
    """The one hook in botocore; answers only while a test has a database."""

    def __init__(self) -> None:
        self.recorder: Recorder | None = None
        BUILTIN_HANDLERS.append(("before-send.dynamodb", self))

    def __call__(self, request: AWSPreparedRequest, **kwargs: Any) -> AWSResponse | None:
        return self.recorder(request, **kwargs) if self.recorder else None

    @contextlib.contextmanager
    def embedded(self, path: Path) -> Iterator[Recorder]:
        with self._reached_at(None, Recorder(Engine(Store(path)))) as recorder:
            yield recorder

    @contextlib.contextmanager
    def engine_at(self, url: str) -> Iterator[Recorder]:
        """A database that listens somewhere."""
        with self._reached_at(url, Recorder(None, keeps=False)) as recorder:
            yield recorder

    @contextlib.contextmanager
    def _reached_at(self, url: str | None, recorder: Recorder) -> Iterator[Recorder]:
        self.recorder = recorder
        reset(url)
        tables.create_tables()
        recorder.calls.clear()
        try:
            yield recorder
        finally:
            self.recorder = None
            reset(None)


def reset(url: str | None) -> None:
    """Let every model connect there. An engine that shares this machine's cores may take its time."""
    if all(model.Meta.host == url for model in tables.Item.__subclasses__()):
        return
    tables.Meta.read_timeout_seconds = PATIENCE if url else READ_TIMEOUT
    for model in tables.Item.__subclasses__():
        model.Meta.host = url
        model._connection = None


DATABASE = Switch()
