"""A control plane as a Python object: a method for each route, with the contract's own types.

    from muster import Client, NewDeployment

    client = Client("https://muster.example.com", "mst_key_…")
    made = client.deploy(NewDeployment(model="Qwen/Qwen3-0.6B", gpus=1))
    for seen in client.watch_deployment(made.deployment_id, timeout=1800):
        print(seen.status, seen.message)

Lists are iterators that fetch their pages as they go. What a worker has to answer is waited for, up to `timeout`
seconds; `watch` is told meanwhile what is known. Errors are those of `muster.errors`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar, Unpack

import msgspec
import requests
from msgspec import UNSET, Struct

from chalicelib.contract import messages as m
from chalicelib.contract import resources as r
from chalicelib.contract.lifecycle import OPEN, OperationStatus, Status
from muster.errors import TimedOut, Unreachable, error
from muster.transport import TIMEOUT, Transport

T = TypeVar("T", bound=Struct)
Watch = Callable[[r.Accepted | r.Operation], None]

LONGEST_WAIT = 25.0
"""Seconds that a route waits for a worker at most."""
LOOK_EVERY = 1.0
PATIENCE = 120.0
"""Seconds for which a watch bears a control plane that does not answer."""
PULL = 3600.0
MOST = 500


@dataclass(frozen=True)
class Clock:
    """How waiting is done; tests have their own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def settled(deployment: r.Deployment) -> bool:
    """Whether nothing more happens to it by itself."""
    wanted = Status.RUNNING if deployment.desired == "running" else Status.STOPPED
    return deployment.status in (wanted, Status.STOPPED, Status.ERROR)


class About(TypedDict, total=False):
    """Whose timeline: a deployment's or a worker's; everything's, where neither is named."""

    deployment_id: str
    worker_id: str


def _timeline(about: About) -> str:
    return "deployment_events" if "deployment_id" in about else "worker_events" if "worker_id" in about else "events"


class Client:
    """Of one control plane, with one API key. Not for several threads at once. Every method raises MusterError."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout: tuple[float, float] = TIMEOUT,
        session: requests.Session | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._http = Transport(url, api_key, session, timeout)
        self._clock = clock or Clock()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    @property
    def url(self) -> str:
        return self._http.url

    def whoami(self) -> r.WhoAmI:
        """The name and the role of the key that this client has."""
        return self._http.call("whoami", r.WhoAmI)

    def health(self) -> r.Health:
        return self._http.call("health", r.Health)

    def metrics(self) -> str:
        """The fleet in Prometheus' text format."""
        return self._http.text("metrics")

    def scrape_targets(self) -> list[r.ScrapeTarget]:
        """The running models' own metrics, for Prometheus."""
        return self._http.call("discover", r.ScrapeTargets)

    # Registration tokens and API keys

    def registration_tokens(self) -> Iterator[r.RegistrationToken]:
        return self._pages("list_tokens", r.RegistrationTokens, "registration_tokens")

    def create_token(self, wanted: r.NewRegistrationToken | None = None) -> r.RegistrationToken:
        """With its secret in `token`, which is not shown again."""
        made = self._http.call("create_token", r.RegistrationToken, body=wanted or r.NewRegistrationToken())
        if made.token is UNSET:  # the answer that had it was lost, and a repeat does not show it
            self.revoke_token(made.token_id)
            return self.create_token(wanted)
        return made

    def revoke_token(self, token_id: str) -> r.RegistrationToken:
        return self._http.call("revoke_token", r.RegistrationToken, token_id=token_id)

    def api_keys(self) -> Iterator[r.ApiKey]:
        return self._pages("list_keys", r.ApiKeys, "api_keys")

    def create_key(self, name: str, role: r.Role) -> r.ApiKey:
        """With its secret in `key`, which is not shown again."""
        made = self._http.call("create_key", r.ApiKey, body=r.NewApiKey(name, role))
        if made.key is UNSET:
            self.revoke_key(made.key_id)
            return self.create_key(name, role)
        return made

    def revoke_key(self, key_id: str) -> r.ApiKey:
        return self._http.call("revoke_key", r.ApiKey, key_id=key_id)

    # Workers

    def workers(self) -> Iterator[r.Worker]:
        return self._pages("list_workers", r.Workers, "workers")

    def worker(self, worker_id: str) -> r.Worker:
        return self._http.call("get_worker", r.Worker, worker_id=worker_id)

    def change_worker(self, worker_id: str, patch: r.WorkerPatch) -> r.Worker:
        """What the patch has replaces what was."""
        return self._http.call("patch_worker", r.Worker, worker_id=worker_id, body=patch)

    def remove_worker(self, worker_id: str, *, force: bool = False) -> r.RemovedWorker:
        """`force` takes one with live deployments too; their containers are left running."""
        return self._http.call("remove_worker", r.RemovedWorker, worker_id=worker_id, query={"force": force})

    def lose_worker(self, worker_id: str) -> r.LostWorker:
        """Say that it will not come back."""
        return self._http.call("lose_worker", r.LostWorker, worker_id=worker_id)

    # Deployments

    def deployments(
        self,
        *,
        status: Status | None = None,
        worker_id: str | None = None,
        model: str | None = None,
        name: str | None = None,
    ) -> Iterator[r.Deployment]:
        query = {"status": status, "worker_id": worker_id, "model": model, "name": name}
        return self._pages("list_deployments", r.Deployments, "deployments", query=query)

    def deployment(self, deployment_id: str) -> r.Deployment:
        return self._http.call("get_deployment", r.Deployment, deployment_id=deployment_id)

    def deploy(self, wanted: r.NewDeployment, *, idempotency_key: str | None = None) -> r.Deployment:
        """With a key of the caller's own, the same call after a crash of the caller finds what it made before."""
        return self._http.call("create_deployment", r.Deployment, body=wanted, key=idempotency_key)

    def change(self, deployment_id: str, patch: r.DeploymentPatch) -> r.Deployment:
        """What the patch has replaces what was: a new generation, unless it is stopped."""
        return self._http.call("patch_deployment", r.Deployment, deployment_id=deployment_id, body=patch)

    def stop(self, deployment_id: str) -> r.Deployment:
        return self._http.call("stop_deployment", r.Deployment, deployment_id=deployment_id)

    def start(self, deployment_id: str) -> r.Deployment:
        return self._http.call("start_deployment", r.Deployment, deployment_id=deployment_id)

    def restart(self, deployment_id: str) -> r.Deployment:
        """Another container for it, whatever the one before does."""
        return self._http.call("restart_deployment", r.Deployment, deployment_id=deployment_id)

    def delete(self, deployment_id: str) -> r.Deployment:
        """Only one that is stopped or in error; else it raises Conflict."""
        return self._http.call("delete_deployment", r.Deployment, deployment_id=deployment_id)

    def watch_deployment(
        self, deployment_id: str, *, timeout: float | None = None, every: float = LOOK_EVERY
    ) -> Iterator[r.Deployment]:
        """As it is now and at each look from now on, until it runs, is stopped or has failed. Raises TimedOut."""
        for seen in self._looks(lambda: self.deployment(deployment_id), timeout, every, "it goes on there"):
            yield seen
            if settled(seen):
                return

    def deployment_logs(
        self,
        deployment_id: str,
        *,
        lines: int = 200,
        since: str | None = None,
        timeout: float = 60.0,
        watch: Watch | None = None,
    ) -> m.Logs:
        """Of whatever container it is or was in. `since` is RFC 3339, epoch seconds, or an answer's `next_since`."""
        query = {"lines": lines, "since": since}
        return self._ask("deployment_logs", m.Logs, timeout, watch, query=query, ids={"deployment_id": deployment_id})

    # Timelines

    def events(self, **about: Unpack[About]) -> Iterator[r.Event]:
        """Of a deployment, a worker, or everything; newest first."""
        return self._pages(_timeline(about), r.Events, "events", **about)

    def events_since(self, cursor: str | None, **about: Unpack[About]) -> tuple[list[r.Event], str | None]:
        """What came since `cursor`, oldest first, each line once, and the next cursor; without one, the last lines."""
        found: list[r.Event] = []
        while True:
            query = {"after": cursor, "limit": MOST}
            page = self._http.call(_timeline(about), r.Events, query=query, **about)
            found += reversed(page.events)
            cursor, is_first = page.cursor or cursor, query["after"] is None
            if is_first or len(page.events) < MOST:
                return found, cursor

    # Containers, images, models and storage of a worker

    def containers(self, worker_id: str, *, timeout: float = 60.0, watch: Watch | None = None) -> m.Containers:
        return self._ask("list_containers", m.Containers, timeout, watch, ids={"worker_id": worker_id})

    def container_logs(
        self,
        worker_id: str,
        container_id: str,
        *,
        lines: int = 200,
        since: str | None = None,
        timeout: float = 60.0,
        watch: Watch | None = None,
    ) -> m.Logs:
        ids = {"worker_id": worker_id, "container_id": container_id}
        return self._ask("container_logs", m.Logs, timeout, watch, query={"lines": lines, "since": since}, ids=ids)

    def stop_container(
        self, worker_id: str, container_id: str, *, timeout: float = 60.0, watch: Watch | None = None
    ) -> m.Container:
        """Only one that Muster started."""
        ids = {"worker_id": worker_id, "container_id": container_id}
        return self._ask("stop_container", m.Container, timeout, watch, ids=ids)

    def images(
        self, worker_id: str, *, fresh: bool = False, timeout: float = 60.0, watch: Watch | None = None
    ) -> m.Images:
        """From the worker's last report (`as_of`) where it is under 5 minutes old, unless `fresh`."""
        return self._ask("list_images", m.Images, timeout, watch, query={"fresh": fresh}, ids={"worker_id": worker_id})

    def pull_image(self, worker_id: str, image: str, *, timeout: float = PULL, watch: Watch | None = None) -> m.Pulled:
        body = r.PullRequest(image)
        return self._ask("pull_image", m.Pulled, timeout, watch, body=body, ids={"worker_id": worker_id})

    def begin_pull(self, worker_id: str, image: str) -> str:
        """Ask for it and do not wait: the operation's id."""
        body = r.PullRequest(image)
        asked = self._http.ask("pull_image", m.Pulled, body=body, query={"wait": 0}, worker_id=worker_id)
        assert isinstance(asked, r.Accepted), "a route that is given no time to wait answers 202"
        return asked.operation_id

    def delete_image(
        self, worker_id: str, image: str, *, force: bool = False, timeout: float = 60.0, watch: Watch | None = None
    ) -> m.Deleted:
        """`image` is an id or a reference."""
        ids = {"worker_id": worker_id, "image_id": image}
        return self._ask("delete_image", m.Deleted, timeout, watch, query={"force": force}, ids=ids)

    def models(self, worker_id: str, *, timeout: float = 60.0, watch: Watch | None = None) -> m.Models:
        """The weights in its cache."""
        return self._ask("list_models", m.Models, timeout, watch, ids={"worker_id": worker_id})

    def delete_model(
        self, worker_id: str, model: str, *, timeout: float = 60.0, watch: Watch | None = None
    ) -> m.Deleted:
        return self._ask("delete_model", m.Deleted, timeout, watch, ids={"worker_id": worker_id, "model": model})

    def disk(self, worker_id: str, *, fresh: bool = False, timeout: float = 60.0, watch: Watch | None = None) -> m.Disk:
        """From the worker's last heartbeat (`as_of`) where it is under 5 minutes old, unless `fresh`."""
        return self._ask("disk_usage", m.Disk, timeout, watch, query={"fresh": fresh}, ids={"worker_id": worker_id})

    def prune(
        self, worker_id: str, wanted: r.PruneRequest, *, timeout: float = 300.0, watch: Watch | None = None
    ) -> m.Pruned:
        return self._ask("prune", m.Pruned, timeout, watch, body=wanted, ids={"worker_id": worker_id})

    # Operations

    def operations(self, worker_id: str) -> list[r.Operation]:
        """What the worker was asked and has not answered, newest first."""
        return self._http.call("list_operations", r.Operations, worker_id=worker_id).operations

    def operation(self, operation_id: str) -> r.Operation:
        return self._http.call("get_operation", r.Operation, operation_id=operation_id)

    def cancel_operation(self, operation_id: str) -> r.Operation:
        """Only one that was not sent to its worker yet; else it raises Conflict."""
        return self._http.call("cancel_operation", r.Operation, operation_id=operation_id)

    def watch_operation(
        self, operation_id: str, *, timeout: float | None = None, every: float = LOOK_EVERY
    ) -> Iterator[r.Operation]:
        """As it is now and at each look from now on, until it has ended. Raises TimedOut."""
        what = f"operation {operation_id} goes on there"
        for seen in self._looks(lambda: self.operation(operation_id), timeout, every, what, operation_id):
            yield seen
            if seen.status not in OPEN:
                return

    # How

    def _pages(self, name: str, answer: type[T], field: str, **given: Any) -> Iterator[Any]:
        query = given.pop("query", {}) | {"limit": MOST}
        while True:
            page: Any = self._http.call(name, answer, query=query, **given)
            yield from getattr(page, field)
            if not page.next_token:
                return
            query = query | {"next_token": page.next_token}

    def _ask(
        self,
        name: str,
        answer: type[T],
        timeout: float,
        watch: Watch | None,
        *,
        ids: dict[str, str],
        body: Struct | None = None,
        query: dict[str, Any] | None = None,
    ) -> T:
        """What the worker answers. Whoever watches hears of the operation at once, not when the route gives up."""
        patience = 0.0 if watch else min(timeout, LONGEST_WAIT)
        found = self._http.ask(name, answer, body=body, query={**(query or {}), "wait": patience}, **ids)
        if not isinstance(found, r.Accepted):
            return found
        watch = watch or (lambda _: None)
        watch(found)
        for operation in self.watch_operation(found.operation_id, timeout=timeout - patience):
            watch(operation)
        return output(operation, answer)

    def _looks(
        self, look: Callable[[], T], timeout: float | None, every: float, what: str, operation_id: str | None = None
    ) -> Iterator[T]:
        """One after the other; a control plane that does not answer for a while is waited for."""
        started = answered = self._clock.now()
        while True:
            try:
                seen = look()
            except Unreachable:
                if self._clock.now() - answered > PATIENCE:
                    raise
            else:
                answered = self._clock.now()
                yield seen
            if timeout is not None and self._clock.now() + every > started + timeout:
                raise TimedOut(f"not done after {timeout:.0f} s; {what}", operation_id)
            self._clock.sleep(every)


def output(operation: r.Operation, answer: type[T]) -> T:
    """What an operation that has ended answers. Raises MusterError for any end but success."""
    if operation.status is OperationStatus.SUCCEEDED:
        return msgspec.convert(operation.output, answer)
    if operation.status is OperationStatus.CANCELLED:
        raise error("ILLEGAL_TRANSITION", "the operation was cancelled while it was waited for")
    raise error(operation.error_code or "OPERATION_FAILED", operation.message or f"it is {operation.status}")
