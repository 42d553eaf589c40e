"""Texts that leave this host, without the credentials that models were given: a program may print its environment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from muster.api.credentials import HIDDEN, MIN_SECRET, hidden_in, is_credential
from muster.api.messages import Deploy, FromHost, Stop


@dataclass(frozen=True)
class Secrets:
    """`commands` returns what this host was asked to run; `host_env` is what models may be given of the host."""

    commands: Callable[[], Iterable[Deploy | Stop]]
    host_env: Mapping[str, str] = field(repr=False)

    def hide(self, text: str, *more: Deploy | Stop) -> str:
        """`text` with HIDDEN in place of each credential of the host and of a command, the longest first."""
        if not text:
            return text
        values = {
            *_secret(self.host_env),
            *(value for command in (*self.commands(), *more) for value in _given(command)),
        }
        for value in sorted(values, key=len, reverse=True):
            text = text.replace(value, HIDDEN)
        return hidden_in(text)


def _given(command: Deploy | Stop) -> Iterator[str]:
    if isinstance(command, Deploy):
        yield from _secret(command.env)


def _secret(env: Mapping[str, str | FromHost]) -> Iterator[str]:
    for name, value in env.items():
        if isinstance(value, str) and len(value) >= MIN_SECRET and is_credential(name):
            yield value
