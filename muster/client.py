"""The control plane as a Python object: `Client` has a method for each route of the API.

docs/client.md is made from the docstrings of `Client` (`make docs`), and tests/docs/test_client.py holds their form.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

import msgspec
from msgspec import UNSET, Struct

from muster.api import gateways as g
from muster.api import messages as m
from muster.api import resources as r
from muster.api.compat import Unpack
from muster.api.lifecycle import OPEN, OperationStatus, Status
from muster.exceptions import TimedOut, Unreachable, error
from muster.transport import TIMEOUT_SECONDS, Transport

if TYPE_CHECKING:
    import requests

T = TypeVar("T", bound=Struct)
Watch = Callable[[r.Accepted | r.Operation], None]
"""Receives the state of an operation while a method waits for the worker."""

MAX_ROUTE_WAIT_SECONDS = 25.0
"""Seconds that a route waits for a worker at most."""
POLL_SECONDS = 1.0
"""Seconds between two requests of a watch."""
MAX_SILENCE_SECONDS = 120.0
"""Seconds for which a watch continues although the control plane does not answer."""
PULL_SECONDS = 3600.0
"""Seconds to wait for a pull."""
PAGE_ITEMS = 500
"""Items on a page."""


@dataclass(frozen=True)
class Clock:
    """How a client measures time and waits: `now` returns seconds, `sleep` waits for seconds. Tests have their own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def settled(deployment: r.Deployment) -> bool:
    """Return whether nothing more happens to the deployment by itself: it is as wanted, is stopped, or is in error."""
    wanted = Status.RUNNING if deployment.desired == "running" else Status.STOPPED
    return deployment.status in (wanted, Status.STOPPED, Status.ERROR)


class About(TypedDict, total=False):
    """Selects a timeline: of a deployment, of a worker, or of everything if neither is given."""

    deployment_id: str
    worker_id: str


def _timeline(about: About) -> str:
    return "deployment_events" if "deployment_id" in about else "worker_events" if "worker_id" in about else "events"


class Client:
    """A client of one control plane, with one API key. A client must not be used by several threads at once.

    - A method raises `MusterError` or a subclass. `Raises` lists the subclasses; an internal error of the control plane
      (500) is a `MusterError` itself.
    - A method with a `watch` argument needs an answer from a worker, and waits for the answer.
    - The client repeats a GET if the connection fails, and a POST under its `Idempotency-Key`. The client repeats a
      PATCH or a DELETE only if no connection was made.
    - After `Unreachable`, the control plane may have done what was asked.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout: tuple[float, float] = TIMEOUT_SECONDS,
        session: requests.Session | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Create a client. The constructor sends no request.

        Args:
            url: Base URL of the control plane, for example `https://muster.example.com`.
            api_key: API key (`mst_key_…`). The client sends it as a bearer token.
            timeout: Seconds to connect, and seconds between two bytes of an answer. Routes wait for a worker for up to
                25 seconds.
            session: Session for all requests. By default the client makes its own connections, repeats requests, and
                trusts `SSL_CERT_FILE`.
            clock: Functions that measure time and wait, for tests.

        Example:
            with Client("https://muster.example.com", "mst_key_…") as client:
                print(client.health().version)
        """
        self._http = Transport(url, api_key, session, timeout)
        self._clock = clock or Clock()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The client and its control plane

    def close(self) -> None:
        """Close the connections of this client's session.

        `with Client(…) as client:` closes the client at the end of the block.
        """
        self._http.close()

    @property
    def url(self) -> str:
        """The base URL of the control plane, without a slash at the end.

        Returns:
            `str`: The URL.
        """
        return self._http.url

    def whoami(self) -> r.WhoAmI:
        """Return the name and the role of this client's API key.

        Returns:
            `WhoAmI`: The name and the role.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            Unreachable: The control plane does not answer.

        Example:
            print(client.whoami().role)
        """
        return self._http.call("whoami", r.WhoAmI)

    def health(self) -> r.Health:
        """Return whether the API and its database answer. This route needs no API key.

        Returns:
            `Health`: The status and the version of the control plane.

        Raises:
            Unreachable: `UNAVAILABLE`: the database does not answer. Without this code, the control plane does not
                answer.
        """
        return self._http.call("health", r.Health)

    def metrics(self) -> str:
        """Return metrics of the fleet.

        Returns:
            `str`: Metrics in Prometheus' text format.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            Unreachable: The control plane does not answer.
        """
        return self._http.text("metrics")

    def fleet(self, since: str | None = None, *, fresh: bool = False) -> r.Fleet:
        """Return a snapshot of all workers and deployments, or what changed since an earlier one.

        All callers share one reading of the database, which is a few seconds old. `workers` and `deployments` read the
        database for each call.

        Args:
            since: `token` of an earlier snapshot. The control plane may answer in full all the same.
            fresh: Read the database at once, for example after a change.

        Returns:
            `Fleet`: The whole fleet if `full` is true, else what changed, and the ids of what is gone. Sizes are in
                bytes.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            Unreachable: The control plane does not answer.

        Example:
            snapshot = client.fleet()
            changes = client.fleet(since=snapshot.token)
        """
        return self._http.call("fleet", r.Fleet, query={"since": since, "fresh": fresh or None})

    def scrape_targets(self) -> list[r.ScrapeTarget]:
        """Return where Prometheus can read the metrics of the models that run.

        Returns:
            list of `ScrapeTarget`: Targets and labels in the format of Prometheus' `http_sd`.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            Unreachable: The control plane does not answer.
        """
        return self._http.call("discover", r.ScrapeTargets)

    # Registration tokens and API keys

    def registration_tokens(self) -> Iterator[r.RegistrationToken]:
        """List the registration tokens.

        Returns:
            Iterator of `RegistrationToken`: Tokens without their secrets. The client fetches pages while the caller
            iterates, and raises errors then.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`.
            Unreachable: The control plane does not answer.
        """
        return self._pages("list_tokens", r.RegistrationTokens, "registration_tokens")

    def create_token(self, wanted: r.NewRegistrationToken | None = None) -> r.RegistrationToken:
        """Create a registration token, with which a host joins as a worker.

        If the connection fails before the secret arrives, the client revokes that token and creates another one.

        Args:
            wanted: Lifetime in seconds (`expires_in`, a day by default), uses, and name of the token. `takeover` needs
                the role `admin`.

        Returns:
            `RegistrationToken`: The token. `token` contains the secret, which no later call returns.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`.
            Invalid: `INVALID_REQUEST`: a field of `wanted` is out of range.
            Unreachable: The control plane does not answer.

        Example:
            made = client.create_token(NewRegistrationToken(expires_in=3600, name="rack 4"))
            print(made.token)
        """
        made = self._http.call("create_token", r.RegistrationToken, body=wanted or r.NewRegistrationToken())
        if made.token is UNSET:  # the answer that had it was lost, and a repeat does not show it
            self.revoke_token(made.token_id)
            return self.create_token(wanted)
        return made

    def revoke_token(self, token_id: str) -> r.RegistrationToken:
        """Revoke a registration token. No host can join or come back with the token.

        Args:
            token_id: Id of the token.

        Returns:
            `RegistrationToken`: The token as it was.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`.
            NotFound: `TOKEN_NOT_FOUND`: no registration token has this id.
            Unreachable: The control plane does not answer.
        """
        return self._http.call("revoke_token", r.RegistrationToken, token_id=token_id)

    def api_keys(self, role: r.Role | None = None) -> Iterator[r.ApiKey]:
        """List the API keys.

        Args:
            role: Role of the keys to list, for example `caller`. By default those of viewers, operators, and admins.

        Returns:
            Iterator of `ApiKey`: Keys without their secrets. The client fetches pages while the caller iterates, and
            raises errors then.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`, or it is no admin's and the keys are not of callers.
            Unreachable: The control plane does not answer.
        """
        return self._pages("list_keys", r.ApiKeys, "api_keys", query={"role": role} if role else {})

    def create_key(
        self,
        name: str,
        role: r.Role,
        *,
        models: Sequence[str] = (),
        rpm: int | None = None,
        tpm: int | None = None,
        tpd: int | None = None,
        expires_in: int | None = None,
    ) -> r.ApiKey:
        """Create an API key.

        If the connection fails before the secret arrives, the client revokes that key and creates another one.

        Args:
            name: Name of the key, which timelines show.
            role: `viewer` reads, `operator` also acts on deployments and workers, `admin` also removes workers and
                manages keys. A `gateway` serves models, and a `caller` asks them.
            models: Names of the models that a caller may use. By default all.
            rpm: Requests of a caller in 60 seconds.
            tpm: Tokens of a caller in 60 seconds.
            tpd: Tokens of a caller in 86,400 seconds, a day.
            expires_in: Lifetime of a caller's key in seconds.

        Returns:
            `ApiKey`: The key. `key` contains the secret, which no later call returns.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`, or it is no admin's and the new key is not of a caller.
            Invalid: `INVALID_REQUEST`: the name, the role, or a limit is not valid.
            Unreachable: The control plane does not answer.

        Example:
            print(client.create_key("app", "caller", models=["qwen"], rpm=60).key)
        """
        limits = _given(models=list(models) or None, rpm=rpm, tpm=tpm, tpd=tpd, expires_in=expires_in)
        wanted = {"name": name, "role": role, **limits}
        made = self._http.call("create_key", r.ApiKey, body=wanted)
        if made.key is UNSET:
            self.revoke_key(made.key_id)
            return self.create_key(name, role, models=models, rpm=rpm, tpm=tpm, tpd=tpd, expires_in=expires_in)
        return made

    def revoke_key(self, key_id: str) -> r.ApiKey:
        """Revoke an API key.

        Args:
            key_id: Id of the key.

        Returns:
            `ApiKey`: The key as it was.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`, or it is no admin's and the revoked key is not of a caller.
            NotFound: `KEY_NOT_FOUND`: no API key has this id.
            Unreachable: The control plane does not answer.
        """
        return self._http.call("revoke_key", r.ApiKey, key_id=key_id)

    # Gateways

    def gateways(self) -> list[g.Gateway]:
        """List the gateways that registered within the last five minutes.

        Returns:
            list of `Gateway`: Each gateway with its URL and its version.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            Unreachable: The control plane does not answer.
        """
        return self._http.call("list_gateways", g.GatewayList).gateways

    def usage(
        self,
        by: Literal["key", "model", "day", "key,model"] = "key",
        since: str | None = None,
        until: str | None = None,
    ) -> g.Usage:
        """Return what callers used of the models.

        Args:
            by: What one row is about.
            since: First day, for example `2026-12-01`, in UTC. By default six days before `until`.
            until: Last day. By default today.

        Returns:
            `Usage`: Requests and tokens, the most tokens first.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            Invalid: `INVALID_REQUEST`: a day is not valid, or there are more than 92 days.
            Unreachable: The control plane does not answer.

        Example:
            print(sum(row.requests for row in client.usage("model").rows))
        """
        return self._http.call("usage", g.Usage, query=_given(by=by, since=since, until=until))

    # Workers

    def workers(self) -> Iterator[r.Worker]:
        """List the workers.

        Returns:
            Iterator of `Worker`: Workers in the order of their names. Sizes are in bytes. The client fetches pages
            while the caller iterates, and raises errors then.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            Unreachable: The control plane does not answer.

        Example:
            for worker in client.workers():
                print(worker.name, worker.status, worker.gpu_info.count)
        """
        return self._pages("list_workers", r.Workers, "workers")

    def worker(self, worker_id: str) -> r.Worker:
        """Return a worker.

        Args:
            worker_id: Id of the worker.

        Returns:
            `Worker`: The worker. Memory and disk sizes are in bytes, and `due_in` and `next_heartbeat_in` in seconds.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            NotFound: `WORKER_NOT_FOUND`: no worker has this id.
            Unreachable: The control plane does not answer.
        """
        return self._http.call("get_worker", r.Worker, worker_id=worker_id)

    def change_worker(self, worker_id: str, patch: r.WorkerPatch) -> r.Worker:
        """Change the labels, the address, or the draining of a worker.

        Args:
            worker_id: Id of the worker.
            patch: Fields to replace. A field that is not set keeps its value.

        Returns:
            `Worker`: The worker with the change. Sizes are in bytes.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`.
            NotFound: `WORKER_NOT_FOUND`: no worker has this id.
            Invalid: `INVALID_REQUEST`: a label or the address is not valid.
            Unreachable: The control plane does not answer.

        Example:
            client.change_worker(worker_id, WorkerPatch(draining=True))
        """
        return self._http.call("patch_worker", r.Worker, worker_id=worker_id, body=patch)

    def remove_worker(self, worker_id: str, *, force: bool = False) -> r.RemovedWorker:
        """Remove a worker from the control plane.

        Args:
            worker_id: Id of the worker.
            force: Also remove a worker that has live deployments. Their status becomes `error`, and their containers
                keep running.

        Returns:
            `RemovedWorker`: The worker as it was. `containers_left` contains the ids of containers that may still run.
            Sizes are in bytes.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `admin`.
            NotFound: `WORKER_NOT_FOUND`: no worker has this id.
            Conflict: `WORKER_NOT_EMPTY`: the worker has live deployments, and `force` is false.
            Unreachable: The control plane does not answer.
        """
        return self._http.call("remove_worker", r.RemovedWorker, worker_id=worker_id, query={"force": force})

    def lose_worker(self, worker_id: str) -> r.LostWorker:
        """Declare that a worker will not come back.

        The worker's deployments get the status `error` and can be started on another worker. If the worker comes back,
        so do they.

        Args:
            worker_id: Id of the worker.

        Returns:
            `LostWorker`: The worker. `deployments_lost` contains the ids of its lost deployments. Sizes are in bytes.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`.
            NotFound: `WORKER_NOT_FOUND`: no worker has this id.
            Unreachable: The control plane does not answer.
        """
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
        """List the deployments.

        Args:
            status: Only deployments with this status.
            worker_id: Only deployments on the worker with this id.
            model: Only deployments of this model.
            name: Only the deployment with this name.

        Returns:
            Iterator of `Deployment`: Deployments that match every given argument. The client fetches pages while the
            caller iterates, and raises errors then.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            Invalid: `INVALID_REQUEST`: an argument is not valid.
            Unreachable: The control plane does not answer.

        Example:
            for deployment in client.deployments(status=Status.RUNNING):
                print(deployment.name, deployment.endpoint)
        """
        query = {"status": status, "worker_id": worker_id, "model": model, "name": name}
        return self._pages("list_deployments", r.Deployments, "deployments", query=query)

    def deployment(self, deployment_id: str) -> r.Deployment:
        """Return a deployment.

        Args:
            deployment_id: Id of the deployment.

        Returns:
            `Deployment`: The deployment. `api_key` is set if the role is `operator` or `admin`.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            NotFound: `DEPLOYMENT_NOT_FOUND`: no deployment has this id.
            Unreachable: The control plane does not answer.
        """
        return self._http.call("get_deployment", r.Deployment, deployment_id=deployment_id)

    def deploy(self, wanted: r.NewDeployment, *, idempotency_key: str | None = None) -> r.Deployment:
        """Create a deployment. The call does not wait for a worker.

        Args:
            wanted: The model, its configuration, and its placement.
            idempotency_key: Text that identifies this call. A repeated call with the same key returns the deployment of
                the first call. By default each call has its own key.

        Returns:
            `Deployment`: The new deployment. Its status is `pending`.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`.
            NotFound: `WORKER_NOT_FOUND`: `wanted.worker_id` names no worker.
            Invalid: `INVALID_REQUEST`: a field of `wanted` is not valid. `PAYLOAD_TOO_LARGE`: `config` and `env` exceed
                64 KiB.
            Conflict: `DEPLOYMENT_NAME_IN_USE`: another deployment has the name. `IDEMPOTENCY_MISMATCH`: the key was
                used for another request.
            Unreachable: The control plane does not answer.

        Example:
            made = client.deploy(NewDeployment(model="Qwen/Qwen3-0.6B", gpus=0, config={"max_model_len": 4096}))
            print(made.deployment_id)
        """
        return self._http.call("create_deployment", r.Deployment, body=wanted, key=idempotency_key)

    def change(self, deployment_id: str, patch: r.DeploymentPatch) -> r.Deployment:
        """Change a deployment. A deployment that runs gets a new container.

        Args:
            deployment_id: Id of the deployment.
            patch: Fields to replace. A field that is not set keeps its value, and `add_env` is merged into `env`.

        Returns:
            `Deployment`: The deployment with the change, in a new generation. A stopped deployment stays stopped.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`.
            NotFound: `DEPLOYMENT_NOT_FOUND`: no deployment has this id. `WORKER_NOT_FOUND`: `patch.worker_id` names no
                worker.
            Invalid: `INVALID_REQUEST`: a field of `patch` is not valid. `PAYLOAD_TOO_LARGE`: `config` and `env` exceed
                64 KiB.
            Unreachable: The control plane does not answer.

        Example:
            client.change(deployment_id, DeploymentPatch(config={"max_model_len": 2048}))
        """
        return self._http.call("patch_deployment", r.Deployment, deployment_id=deployment_id, body=patch)

    def stop(self, deployment_id: str) -> r.Deployment:
        """Stop a deployment. The call does not wait for the worker.

        Args:
            deployment_id: Id of the deployment.

        Returns:
            `Deployment`: The deployment. `desired` is `stopped`, and `status` follows when the worker has stopped the
            container.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`.
            NotFound: `DEPLOYMENT_NOT_FOUND`: no deployment has this id.
            Unreachable: The control plane does not answer.

        Example:
            client.stop(deployment_id)
            for seen in client.watch_deployment(deployment_id, timeout=120):
                print(seen.status)
        """
        return self._http.call("stop_deployment", r.Deployment, deployment_id=deployment_id)

    def start(self, deployment_id: str) -> r.Deployment:
        """Start a deployment that is stopped or in error. A deployment that is wanted and alive does not change.

        Args:
            deployment_id: Id of the deployment.

        Returns:
            `Deployment`: The deployment.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`.
            NotFound: `DEPLOYMENT_NOT_FOUND`: no deployment has this id.
            Invalid: `INVALID_REQUEST`: the control plane no longer accepts the stored configuration; change it first.
            Unreachable: The control plane does not answer.
        """
        return self._http.call("start_deployment", r.Deployment, deployment_id=deployment_id)

    def restart(self, deployment_id: str) -> r.Deployment:
        """Replace the container of a deployment, whatever its status.

        Args:
            deployment_id: Id of the deployment.

        Returns:
            `Deployment`: The deployment in a new generation.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`.
            NotFound: `DEPLOYMENT_NOT_FOUND`: no deployment has this id.
            Invalid: `INVALID_REQUEST`: the control plane no longer accepts the stored configuration; change it first.
            Unreachable: The control plane does not answer.
        """
        return self._http.call("restart_deployment", r.Deployment, deployment_id=deployment_id)

    def delete(self, deployment_id: str) -> r.Deployment:
        """Delete a deployment that is stopped or in error.

        Args:
            deployment_id: Id of the deployment.

        Returns:
            `Deployment`: The deployment as it was.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`.
            NotFound: `DEPLOYMENT_NOT_FOUND`: no deployment has this id.
            Conflict: `ILLEGAL_TRANSITION`: the deployment is neither stopped nor in error.
            Unreachable: The control plane does not answer.
        """
        return self._http.call("delete_deployment", r.Deployment, deployment_id=deployment_id)

    def watch_deployment(
        self, deployment_id: str, *, timeout: float | None = None, every: float = POLL_SECONDS
    ) -> Iterator[r.Deployment]:
        """Yield the deployment now, and again after each interval, until nothing more happens by itself (`settled`).

        Args:
            deployment_id: Id of the deployment.
            timeout: Seconds until the client gives up. `None` sets no limit.
            every: Seconds between two requests.

        Returns:
            Iterator of `Deployment`: One state for each request. The last state is running, stopped, or in error.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            NotFound: `DEPLOYMENT_NOT_FOUND`: no deployment has this id.
            TimedOut: The deployment is not settled within `timeout`. The deployment continues.
            Unreachable: The control plane has not answered for 120 seconds.

        Example:
            for seen in client.watch_deployment(deployment_id, timeout=1800):
                print(seen.status, seen.message)
        """
        for seen in self._looks(lambda: self.deployment(deployment_id), timeout, every, "the deployment continues"):
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
        """Return the log of the container that the deployment has or had last.

        Args:
            deployment_id: Id of the deployment.
            lines: Number of lines at the end of the log, from 1 to 10,000.
            since: Start of the log: RFC 3339, epoch seconds, or the `next_since` of an earlier answer.
            timeout: Seconds to wait for the worker's answer.
            watch: Function that the client calls with the `Accepted` answer, and then with each `Operation` that it
                reads while it waits.

        Returns:
            `Logs`: The text of the log. `next_since` continues after its last line.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            NotFound: `DEPLOYMENT_NOT_FOUND`: no deployment has this id. `CONTAINER_NOT_FOUND`: the deployment has no
                container.
            Conflict: `WORKER_OFFLINE`: the worker is offline. `ILLEGAL_TRANSITION`: another client cancelled the
                operation.
            Invalid: `INVALID_REQUEST`: `lines` or `since` is not valid.
            WorkerFailed: The worker reported an error; `error_code` contains its code. `EXPIRED`: the worker did not
                take the operation in time.
            TimedOut: The worker did not answer within `timeout`. The operation continues, and `operation_id` contains
                its id.
            Unreachable: The control plane does not answer.

        Example:
            print(client.deployment_logs(deployment_id, lines=50).logs)
        """
        query = {"lines": lines, "since": since}
        return self._ask("deployment_logs", m.Logs, timeout, watch, query=query, deployment_id=deployment_id)

    # Timelines

    def events(self, **about: Unpack[About]) -> Iterator[r.Event]:
        """List events: of a deployment, of a worker, or of everything if neither is given.

        Args:
            deployment_id: Id of the deployment whose timeline to read.
            worker_id: Id of the worker whose timeline to read.

        Returns:
            Iterator of `Event`: Events of the last 30 days, newest first. The client fetches pages while the caller
            iterates, and raises errors then.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            NotFound: `DEPLOYMENT_NOT_FOUND` or `WORKER_NOT_FOUND`: the id is unknown.
            Unreachable: The control plane does not answer.

        Example:
            for event in client.events(deployment_id=deployment_id):
                print(event.at, event.type, event.message)
        """
        return self._pages(_timeline(about), r.Events, "events", **about)

    def events_since(self, cursor: str | None, **about: Unpack[About]) -> tuple[list[r.Event], str | None]:
        """Return the events that came after a cursor. Use this method to follow a timeline.

        Args:
            cursor: The cursor of the previous call. `None` returns the latest events, at most 500.
            deployment_id: Id of the deployment whose timeline to read.
            worker_id: Id of the worker whose timeline to read.

        Returns:
            list of `Event`, and `str` or `None`: The events, oldest first and each exactly once, and the cursor for the
            next call.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            NotFound: `DEPLOYMENT_NOT_FOUND` or `WORKER_NOT_FOUND`: the id is unknown.
            Invalid: `INVALID_REQUEST`: `cursor` is not from an earlier answer.
            Unreachable: The control plane does not answer.

        Example:
            _, cursor = client.events_since(None)
            found, cursor = client.events_since(cursor)
        """
        found: list[r.Event] = []
        while True:
            query = {"after": cursor, "limit": PAGE_ITEMS}
            page = self._http.call(_timeline(about), r.Events, query=query, **about)
            found += reversed(page.events)
            cursor, is_first = page.cursor or cursor, query["after"] is None
            if is_first or len(page.events) < PAGE_ITEMS:
                return found, cursor

    # Containers, images, models and storage of a worker

    def containers(self, worker_id: str, *, timeout: float = 60.0, watch: Watch | None = None) -> m.Containers:
        """Ask a worker for its containers, and for the use of its GPUs.

        Args:
            worker_id: Id of the worker.
            timeout: Seconds to wait for the worker's answer.
            watch: Function that the client calls with the `Accepted` answer, and then with each `Operation` that it
                reads while it waits.

        Returns:
            `Containers`: The containers, including those that Muster did not start. GPU memory is in bytes, temperature
            in degrees Celsius, and power in watts.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            NotFound: `WORKER_NOT_FOUND`: no worker has this id.
            Conflict: `WORKER_OFFLINE`: the worker is offline. `ILLEGAL_TRANSITION`: another client cancelled the
                operation.
            WorkerFailed: The worker reported an error; `error_code` contains its code. `EXPIRED`: the worker did not
                take the operation in time.
            TimedOut: The worker did not answer within `timeout`. The operation continues, and `operation_id` contains
                its id.
            Unreachable: The control plane does not answer.

        Example:
            for container in client.containers(worker_id).containers:
                print(container.name, container.state, container.ours)
        """
        return self._ask("list_containers", m.Containers, timeout, watch, worker_id=worker_id)

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
        """Return the log of a container.

        Args:
            worker_id: Id of the worker.
            container_id: Id or name of the container, or the id of its deployment.
            lines: Number of lines at the end of the log, from 1 to 10,000.
            since: Start of the log: RFC 3339, epoch seconds, or the `next_since` of an earlier answer.
            timeout: Seconds to wait for the worker's answer.
            watch: Function that the client calls with the `Accepted` answer, and then with each `Operation` that it
                reads while it waits.

        Returns:
            `Logs`: The text of the log. `next_since` continues after its last line.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            NotFound: `WORKER_NOT_FOUND`: no worker has this id. `CONTAINER_NOT_FOUND`: the worker has no such
                container.
            Conflict: `WORKER_OFFLINE`: the worker is offline. `ILLEGAL_TRANSITION`: another client cancelled the
                operation.
            Invalid: `INVALID_REQUEST`: `lines` or `since` is not valid.
            WorkerFailed: The worker reported an error; `error_code` contains its code. `EXPIRED`: the worker did not
                take the operation in time. `NOT_OURS`: Muster did not start the container.
            TimedOut: The worker did not answer within `timeout`. The operation continues, and `operation_id` contains
                its id.
            Unreachable: The control plane does not answer.
        """
        ids = {"worker_id": worker_id, "container_id": container_id}
        return self._ask("container_logs", m.Logs, timeout, watch, query={"lines": lines, "since": since}, **ids)

    def stop_container(
        self, worker_id: str, container_id: str, *, timeout: float = 60.0, watch: Watch | None = None
    ) -> m.Container:
        """Stop a container that Muster started.

        Args:
            worker_id: Id of the worker.
            container_id: Id or name of the container, or the id of its deployment.
            timeout: Seconds to wait for the worker's answer.
            watch: Function that the client calls with the `Accepted` answer, and then with each `Operation` that it
                reads while it waits.

        Returns:
            `Container`: The container after the stop.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`.
            NotFound: `WORKER_NOT_FOUND`: no worker has this id. `CONTAINER_NOT_FOUND`: the worker has no such
                container.
            Conflict: `WORKER_OFFLINE`: the worker is offline. `ILLEGAL_TRANSITION`: another client cancelled the
                operation.
            WorkerFailed: The worker reported an error; `error_code` contains its code. `EXPIRED`: the worker did not
                take the operation in time. `NOT_OURS`: Muster did not start the container.
            TimedOut: The worker did not answer within `timeout`. The operation continues, and `operation_id` contains
                its id.
            Unreachable: The control plane does not answer.
        """
        return self._ask("stop_container", m.Container, timeout, watch, worker_id=worker_id, container_id=container_id)

    def images(
        self, worker_id: str, *, fresh: bool = False, timeout: float = 60.0, watch: Watch | None = None
    ) -> m.Images:
        """Return the container images of a worker.

        Args:
            worker_id: Id of the worker.
            fresh: Ask the worker. Otherwise a report that is less than 5 minutes old is the answer.
            timeout: Seconds to wait for the worker's answer.
            watch: Function that the client calls with the `Accepted` answer, and then with each `Operation` that it
                reads while it waits.

        Returns:
            `Images`: The images, with sizes in bytes. `as_of` contains the time of the report, if the answer is one.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            NotFound: `WORKER_NOT_FOUND`: no worker has this id.
            Conflict: `WORKER_OFFLINE`: the worker is offline. `ILLEGAL_TRANSITION`: another client cancelled the
                operation.
            WorkerFailed: The worker reported an error; `error_code` contains its code. `EXPIRED`: the worker did not
                take the operation in time.
            TimedOut: The worker did not answer within `timeout`. The operation continues, and `operation_id` contains
                its id.
            Unreachable: The control plane does not answer.

        Example:
            for image in client.images(worker_id).images:
                print(image.tags, image.size)
        """
        return self._ask("list_images", m.Images, timeout, watch, query={"fresh": fresh}, worker_id=worker_id)

    def pull_image(
        self, worker_id: str, image: str, *, timeout: float = PULL_SECONDS, watch: Watch | None = None
    ) -> m.Pulled:
        """Pull an image on a worker, and wait until the pull ends.

        Args:
            worker_id: Id of the worker.
            image: Reference of the image, for example `vllm/vllm-openai:latest`.
            timeout: Seconds to wait for the worker's answer; an hour by default.
            watch: Function that the client calls with the `Accepted` answer, and then with each `Operation` that it
                reads while it waits.

        Returns:
            `Pulled`: The id and the tags of the image.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`.
            NotFound: `WORKER_NOT_FOUND`: no worker has this id. `IMAGE_NOT_FOUND`: the registry has no such image.
            Conflict: `WORKER_OFFLINE`: the worker is offline. `ILLEGAL_TRANSITION`: another client cancelled the
                operation.
            Invalid: `INVALID_REQUEST`: `image` is not a reference.
            WorkerFailed: The worker reported an error; `error_code` contains its code. `EXPIRED`: the worker did not
                take the operation in time.
            TimedOut: The worker did not answer within `timeout`. The operation continues, and `operation_id` contains
                its id.
            Unreachable: The control plane does not answer.

        Example:
            client.pull_image(worker_id, "vllm/vllm-openai:latest", watch=print)
        """
        body = r.PullRequest(image)
        return self._ask("pull_image", m.Pulled, timeout, watch, body=body, worker_id=worker_id)

    def begin_pull(self, worker_id: str, image: str) -> str:
        """Ask a worker to pull an image, and do not wait.

        Args:
            worker_id: Id of the worker.
            image: Reference of the image, for example `vllm/vllm-openai:latest`.

        Returns:
            `str`: The id of the operation, for `operation` and `watch_operation`.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`.
            NotFound: `WORKER_NOT_FOUND`: no worker has this id.
            Conflict: `WORKER_OFFLINE`: the worker is offline.
            Invalid: `INVALID_REQUEST`: `image` is not a reference.
            Unreachable: The control plane does not answer.

        Example:
            operation_id = client.begin_pull(worker_id, "vllm/vllm-openai:latest")
            for seen in client.watch_operation(operation_id):
                print(seen.status, seen.progress)
        """
        body = r.PullRequest(image)
        asked = self._http.ask("pull_image", m.Pulled, body=body, query={"wait": 0}, worker_id=worker_id)
        assert isinstance(asked, r.Accepted), "a route that is given no time to wait answers 202"
        return asked.operation_id

    def delete_image(
        self, worker_id: str, image: str, *, force: bool = False, timeout: float = 60.0, watch: Watch | None = None
    ) -> m.Deleted:
        """Delete an image from a worker.

        Args:
            worker_id: Id of the worker.
            image: Id or reference of the image.
            force: Delete the image also if a deployment or a stopped container uses it.
            timeout: Seconds to wait for the worker's answer.
            watch: Function that the client calls with the `Accepted` answer, and then with each `Operation` that it
                reads while it waits.

        Returns:
            `Deleted`: The ids and tags that were deleted.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`.
            NotFound: `WORKER_NOT_FOUND`: no worker has this id. `IMAGE_NOT_FOUND`: the worker has no such image.
            Conflict: `WORKER_OFFLINE`: the worker is offline. `IMAGE_IN_USE`: a deployment or a container uses the
                image. `ILLEGAL_TRANSITION`: another client cancelled the operation.
            WorkerFailed: The worker reported an error; `error_code` contains its code. `EXPIRED`: the worker did not
                take the operation in time.
            TimedOut: The worker did not answer within `timeout`. The operation continues, and `operation_id` contains
                its id.
            Unreachable: The control plane does not answer.
        """
        ids = {"worker_id": worker_id, "image_id": image}
        return self._ask("delete_image", m.Deleted, timeout, watch, query={"force": force}, **ids)

    def models(self, worker_id: str, *, timeout: float = 60.0, watch: Watch | None = None) -> m.Models:
        """Ask a worker for the models whose weights are in its cache.

        Args:
            worker_id: Id of the worker.
            timeout: Seconds to wait for the worker's answer.
            watch: Function that the client calls with the `Accepted` answer, and then with each `Operation` that it
                reads while it waits.

        Returns:
            `Models`: The models, with sizes in bytes.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            NotFound: `WORKER_NOT_FOUND`: no worker has this id.
            Conflict: `WORKER_OFFLINE`: the worker is offline. `ILLEGAL_TRANSITION`: another client cancelled the
                operation.
            WorkerFailed: The worker reported an error; `error_code` contains its code. `EXPIRED`: the worker did not
                take the operation in time.
            TimedOut: The worker did not answer within `timeout`. The operation continues, and `operation_id` contains
                its id.
            Unreachable: The control plane does not answer.
        """
        return self._ask("list_models", m.Models, timeout, watch, worker_id=worker_id)

    def delete_model(
        self, worker_id: str, model: str, *, timeout: float = 60.0, watch: Watch | None = None
    ) -> m.Deleted:
        """Delete the weights of a model from a worker's cache.

        Args:
            worker_id: Id of the worker.
            model: Name of the model, for example `Qwen/Qwen3-0.6B`.
            timeout: Seconds to wait for the worker's answer.
            watch: Function that the client calls with the `Accepted` answer, and then with each `Operation` that it
                reads while it waits.

        Returns:
            `Deleted`: The names that were deleted.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`.
            NotFound: `WORKER_NOT_FOUND`: no worker has this id. `MODEL_NOT_FOUND`: the cache does not contain the
                model.
            Conflict: `WORKER_OFFLINE`: the worker is offline. `ILLEGAL_TRANSITION`: another client cancelled the
                operation.
            WorkerFailed: The worker reported an error; `error_code` contains its code. `EXPIRED`: the worker did not
                take the operation in time. `MODEL_IN_USE`: a deployment uses the model.
            TimedOut: The worker did not answer within `timeout`. The operation continues, and `operation_id` contains
                its id.
            Unreachable: The control plane does not answer.
        """
        return self._ask("delete_model", m.Deleted, timeout, watch, worker_id=worker_id, model=model)

    def disk(self, worker_id: str, *, fresh: bool = False, timeout: float = 60.0, watch: Watch | None = None) -> m.Disk:
        """Return the disk usage of a worker.

        Args:
            worker_id: Id of the worker.
            fresh: Ask the worker. Otherwise a heartbeat that is less than 5 minutes old is the answer.
            timeout: Seconds to wait for the worker's answer.
            watch: Function that the client calls with the `Accepted` answer, and then with each `Operation` that it
                reads while it waits.

        Returns:
            `Disk`: Sizes in bytes, and usage in percent. `as_of` contains the time of the heartbeat, if the answer is
            from one.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            NotFound: `WORKER_NOT_FOUND`: no worker has this id.
            Conflict: `WORKER_OFFLINE`: the worker is offline. `ILLEGAL_TRANSITION`: another client cancelled the
                operation.
            WorkerFailed: The worker reported an error; `error_code` contains its code. `EXPIRED`: the worker did not
                take the operation in time.
            TimedOut: The worker did not answer within `timeout`. The operation continues, and `operation_id` contains
                its id.
            Unreachable: The control plane does not answer.

        Example:
            print(client.disk(worker_id).free // 10**9, "GB")
        """
        return self._ask("disk_usage", m.Disk, timeout, watch, query={"fresh": fresh}, worker_id=worker_id)

    def prune(
        self, worker_id: str, wanted: r.PruneRequest, *, timeout: float = 300.0, watch: Watch | None = None
    ) -> m.Pruned:
        """Delete images, containers, and volumes that Muster left on a worker and that nothing uses.

        Args:
            worker_id: Id of the worker.
            wanted: What to delete. With `dry_run` the worker deletes nothing and reports what it would delete.
            timeout: Seconds to wait for the worker's answer.
            watch: Function that the client calls with the `Accepted` answer, and then with each `Operation` that it
                reads while it waits.

        Returns:
            `Pruned`: The freed space in bytes (`space_reclaimed`), and what the worker kept and why (`kept`).

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`.
            NotFound: `WORKER_NOT_FOUND`: no worker has this id.
            Conflict: `WORKER_OFFLINE`: the worker is offline. `ILLEGAL_TRANSITION`: another client cancelled the
                operation.
            WorkerFailed: The worker reported an error; `error_code` contains its code. `EXPIRED`: the worker did not
                take the operation in time.
            TimedOut: The worker did not answer within `timeout`. The operation continues, and `operation_id` contains
                its id.
            Unreachable: The control plane does not answer.

        Example:
            print(client.prune(worker_id, PruneRequest(images=True, dry_run=True)).space_reclaimed)
        """
        return self._ask("prune", m.Pruned, timeout, watch, body=wanted, worker_id=worker_id)

    # Operations

    def operations(self, worker_id: str) -> list[r.Operation]:
        """List the operations that a worker has not answered.

        Args:
            worker_id: Id of the worker.

        Returns:
            list of `Operation`: Open operations, newest first.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            NotFound: `WORKER_NOT_FOUND`: no worker has this id.
            Unreachable: The control plane does not answer.
        """
        return self._http.call("list_operations", r.Operations, worker_id=worker_id).operations

    def operation(self, operation_id: str) -> r.Operation:
        """Return an operation and its result.

        Args:
            operation_id: Id of the operation.

        Returns:
            `Operation`: The operation. `output` contains the result when its status is `succeeded`.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            NotFound: `OPERATION_NOT_FOUND`: no operation has this id. Results are kept for 7 days.
            Unreachable: The control plane does not answer.
        """
        return self._http.call("get_operation", r.Operation, operation_id=operation_id)

    def cancel_operation(self, operation_id: str) -> r.Operation:
        """Cancel an operation that the control plane has not sent to the worker yet.

        Args:
            operation_id: Id of the operation.

        Returns:
            `Operation`: The cancelled operation.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key. `FORBIDDEN`: the key's role is
                below `operator`.
            NotFound: `OPERATION_NOT_FOUND`: no operation has this id. Results are kept for 7 days.
            Conflict: `ILLEGAL_TRANSITION`: the operation was sent, or has ended.
            Unreachable: The control plane does not answer.
        """
        return self._http.call("cancel_operation", r.Operation, operation_id=operation_id)

    def watch_operation(
        self, operation_id: str, *, timeout: float | None = None, every: float = POLL_SECONDS
    ) -> Iterator[r.Operation]:
        """Yield the operation now, and again after each interval, until the operation ends.

        Args:
            operation_id: Id of the operation.
            timeout: Seconds until the client gives up. `None` sets no limit.
            every: Seconds between two requests.

        Returns:
            Iterator of `Operation`: One state for each request. A failed operation is a state, not an exception.

        Raises:
            AuthError: `UNAUTHENTICATED`: the control plane does not accept the API key.
            NotFound: `OPERATION_NOT_FOUND`: no operation has this id. Results are kept for 7 days.
            TimedOut: The operation has not ended within `timeout`. The operation continues.
            Unreachable: The control plane has not answered for 120 seconds.
        """
        what = f"operation {operation_id} continues"
        for seen in self._looks(lambda: self.operation(operation_id), timeout, every, what, operation_id):
            yield seen
            if seen.status not in OPEN:
                return

    # Requests

    def _pages(self, name: str, answer: type[T], field: str, **given: Any) -> Iterator[Any]:
        query = given.pop("query", {}) | {"limit": PAGE_ITEMS}
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
        query: dict[str, Any] | None = None,
        **given: Any,
    ) -> T:
        """Return the worker's answer. With `watch` the route does not wait, so that `watch` is called at once.

        `given`: the body, and the path's parameters by name.
        """
        patience = 0.0 if watch else min(timeout, MAX_ROUTE_WAIT_SECONDS)
        found = self._http.ask(name, answer, query={**(query or {}), "wait": patience}, **given)
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
        """Yield states until the caller stops. Continues while the control plane does not answer for a short time."""
        started = answered = self._clock.now()
        while True:
            try:
                seen = look()
            except Unreachable:
                if self._clock.now() - answered > MAX_SILENCE_SECONDS:
                    raise
            else:
                answered = self._clock.now()
                yield seen
            if timeout is not None and self._clock.now() + every > started + timeout:
                raise TimedOut(f"timed out after {timeout:.0f} s; {what}", operation_id)
            self._clock.sleep(every)


def output(operation: r.Operation, answer: type[T]) -> T:
    """Return the result of an operation that succeeded. Raises MusterError for any other end."""
    if operation.status is OperationStatus.SUCCEEDED:
        return msgspec.convert(operation.output, answer)
    if operation.status is OperationStatus.CANCELLED:
        raise error("ILLEGAL_TRANSITION", "the operation was cancelled")
    raise error(operation.error_code or "OPERATION_FAILED", operation.message or f"the operation is {operation.status}")


def _given(**values: Any) -> dict[str, Any]:
    """Those that are not None: a control plane of an older release does not know the others."""
    return {name: value for name, value in values.items() if value is not None}
