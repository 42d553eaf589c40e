"""Which one is meant: by name, by id, or by the beginning of an id that only one has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from muster.api import resources as r
from muster.cli.shell import NOT_FOUND, USAGE, Stop
from muster.client import Client
from muster.exceptions import AuthError, NotFound

T = TypeVar("T")

MIN_PREFIX_CHARACTERS = 4
"""Characters of an id: fewer are likelier a name with a mistake in it."""
SHORT_ID_CHARACTERS = 8

EVERY_ROLE: tuple[r.Role | None, ...] = (None, "gateway", "caller")
"""Whose keys are listed, list by list; None are those of people."""


def worker(client: Client, ref: str) -> r.Worker:
    """Raises Stop."""
    found = client.workers()
    return _one("worker", ref, found, lambda worker: (worker.worker_id, worker.name), "muster workers")


def worker_of(client: Client, deployment: r.Deployment) -> r.Worker | None:
    """None where it has none, or its worker was removed."""
    with suppress(NotFound):
        return client.worker(deployment.worker_id) if deployment.worker_id else None
    return None


def deployment(client: Client, ref: str) -> r.Deployment:
    """Raises Stop."""
    found = client.deployments()
    return _one("deployment", ref, found, lambda deployment: (deployment.deployment_id, deployment.name), "muster ps")


def deployment_or_worker(client: Client, ref: str) -> r.Deployment | r.Worker:
    """The deployment, or else the worker. Raises Stop, which is about deployments where it is neither."""
    try:
        return deployment(client, ref)
    except Stop as stop:
        if stop.exit_code != NOT_FOUND:
            raise
        with suppress(Stop):
            return worker(client, ref)
        raise


def token(client: Client, ref: str) -> r.RegistrationToken:
    """Raises Stop."""
    found = client.registration_tokens()
    return _one("token", ref, found, lambda token: (token.token_id, token.name or ""), "muster tokens")


def keys(client: Client, role: r.Role | None = None) -> list[r.ApiKey]:
    """The keys of that role; without one, all that the caller may see, which for operators are those of callers."""
    if role is not None:
        return list(client.api_keys(role))
    found: list[r.ApiKey] = []
    for each in EVERY_ROLE:
        try:
            found += client.api_keys(each)
        except AuthError as error:
            if error.error_code != "FORBIDDEN" or each == "caller":
                raise
    return list({found_key.key_id: found_key for found_key in found}.values())


def key(client: Client, ref: str) -> r.ApiKey:
    """Raises Stop."""
    return _one("key", ref, keys(client), lambda key: (key.key_id, key.name), "muster keys")


def operation(every: Iterable[r.Operation], ref: str) -> r.Operation:
    """Raises Stop."""
    return _one("unanswered operation", ref, every, lambda asked: (asked.operation_id, asked.type), "muster ops")


def of_workers(client: Client) -> dict[str, str]:
    """Worker id to name."""
    return {worker.worker_id: worker.name for worker in client.workers()}


def of_deployments(deployments: Iterable[r.Deployment]) -> dict[str, str]:
    """Deployment id to name."""
    return {deployment.deployment_id: deployment.name for deployment in deployments}


def short(id_: str) -> str:
    return id_[:SHORT_ID_CHARACTERS]


def _one(kind: str, ref: str, every: Iterable[T], names: Callable[[T], tuple[str, str]], listing: str) -> T:
    """The one with that id, else that name (names of credentials may be shared), else that beginning."""
    candidates = list(every)
    rules: tuple[Callable[[str, str], bool], ...] = (
        lambda id_, name: id_ == ref,
        lambda id_, name: name == ref,
        lambda id_, name: len(ref) >= MIN_PREFIX_CHARACTERS and id_.startswith(ref),
    )
    for fits in rules:
        found = [candidate for candidate in candidates if fits(*names(candidate))]
        if len(found) == 1:
            return found[0]
        if found:
            lines = "\n".join(f"  {id_}  {name}" for id_, name in map(names, found))
            raise Stop(f"{ref!r} may be any of {len(found)}; give more of the id:\n{lines}", USAGE)
    raise Stop(f"there is no {kind} {ref!r}; {listing} lists them", NOT_FOUND)
