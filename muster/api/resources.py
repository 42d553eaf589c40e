"""What operators send and receive (docs/protocol.md, What operators call).

Requests refuse unknown fields, so that a typo is seen. Times are RFC 3339 in UTC, stamped by the control plane.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from muster.api.lifecycle import OperationStatus, Status
from muster.api.messages import (
    Config,
    CrashLoop,
    Disk,
    Env,
    Fix,
    GpuIndex,
    GpuInfo,
    GpuUsage,
    Id,
    ImageReference,
    Labels,
    Name,
    Progress,
    Since,
    SystemInfo,
    Text,
)

Role = Literal["viewer", "operator", "admin", "gateway", "caller"]
"""What an API key may do. An operator may do what a viewer may, and an admin what an operator may.

A key of a `gateway` opens the gateways' routes alone. A key of a `caller` opens models at gateways, and nothing here.
"""
Limit = Annotated[int, Meta(ge=1, le=2**53)]
DeploymentName = Annotated[str, Meta(max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(?!\n)$")]
GpuRequest = Annotated[int, Meta(ge=0, le=64)] | Annotated[list[GpuIndex], Meta(max_length=64)]
"""How many GPUs, or which."""
MAX_PAGE = 500


# Requests


class Nothing(Struct, forbid_unknown_fields=True):
    """The body of a route that takes none: empty, or `{}`."""


class PageQuery(Struct):
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 100
    next_token: Annotated[str, Meta(max_length=1024)] | None = None


class EventsQuery(PageQuery):
    """`after`: the `cursor` of an earlier answer; what came since follows, whatever `next_token` says."""

    after: Annotated[str, Meta(max_length=8192)] | None = None


class DeploymentsQuery(PageQuery):
    status: Status | None = None
    worker_id: Id | None = None
    model: Text | None = None
    name: Text | None = None


class FleetQuery(Struct):
    """`since`: the `token` of an earlier answer; what changed since follows. `fresh` reads the database at once."""

    since: Annotated[str, Meta(max_length=64)] | None = None
    fresh: bool = False


class MetricsQuery(Struct):
    """`collect`: groups of metrics, with commas between them; all by default."""

    collect: Annotated[str, Meta(max_length=200)] | None = None


class WaitQuery(Struct):
    """Seconds to wait for the worker's answer before 202."""

    wait: Annotated[float, Meta(ge=0, le=25)] = 25


class PullQuery(Struct):
    wait: Annotated[float, Meta(ge=0, le=25)] = 0


class ReportQuery(WaitQuery):
    """`fresh` asks the worker even where a report of the last 5 minutes is at hand."""

    fresh: bool = False


class DeleteImageQuery(WaitQuery):
    force: bool = False


class LogsQuery(WaitQuery):
    lines: Annotated[int, Meta(ge=1, le=10000)] = 200
    since: Since | None = None


class ForceQuery(Struct):
    force: bool = False


class NewRegistrationToken(Struct, forbid_unknown_fields=True):
    """The registration token to create. `expires_in` is in seconds.

    `takeover` lets a host claim the name of a worker that is offline; only an admin may create such a token. Workers
    that join with an `ephemeral` token are removed after 15 minutes of silence.
    """

    expires_in: Annotated[int, Meta(ge=1, le=31536000)] = 86400
    max_uses: Annotated[int, Meta(ge=1, le=100000)] = 1
    takeover: bool = False
    ephemeral: bool = False
    name: Name | None = None


class NewApiKey(Struct, forbid_unknown_fields=True):
    """The API key to create. The other fields are for the role `caller`.

    `models` are the names of the models that the key may use, all by default. `rpm` limits requests and `tpm` tokens in
    a minute, `tpd` tokens in a day; each gateway counts for itself. `expires_in` is in seconds.
    """

    name: Name
    role: Role
    models: Annotated[list[Text], Meta(max_length=100)] = []
    rpm: Limit | None = None
    tpm: Limit | None = None
    tpd: Limit | None = None
    expires_in: Annotated[int, Meta(ge=1, le=10 * 31536000)] | None = None


class KeysQuery(PageQuery):
    """`role`: keys of that role alone; without it, viewers', operators', and admins'."""

    role: Role | None = None


class WorkerPatch(Struct, forbid_unknown_fields=True):
    """The fields of a worker to replace. A field that is not set keeps its value."""

    labels: Labels | UnsetType = UNSET
    draining: bool | UnsetType = UNSET
    address: Text | UnsetType | None = UNSET


class NewDeployment(Struct, forbid_unknown_fields=True):
    """The deployment to create. `config` contains vLLM's flags, for example `max_model_len`.

    `worker_id` or `selector` (labels that the worker must have) restrict the placement. `gpus` is one by default.
    """

    model: Text
    backend: Literal["vllm"] = "vllm"
    config: Config = {}
    name: DeploymentName | None = None
    image: ImageReference | None = None
    env: Env = {}
    gpus: GpuRequest = 1
    worker_id: Id | None = None
    selector: Labels = {}
    restart: Literal["on-failure", "never"] = "on-failure"


class DeploymentPatch(Struct, forbid_unknown_fields=True):
    """The fields of a deployment to replace. The result is a new generation.

    `add_env` is merged into `env`: variables of other names stay.
    """

    config: Config | UnsetType = UNSET
    image: ImageReference | UnsetType | None = UNSET
    env: Env | UnsetType = UNSET
    gpus: GpuRequest | UnsetType = UNSET
    worker_id: Id | UnsetType = UNSET
    add_env: Env | UnsetType = UNSET


class PullRequest(Struct, forbid_unknown_fields=True):
    image: ImageReference


class PruneRequest(Struct, forbid_unknown_fields=True):
    """The kinds of objects to delete from a worker. With `dry_run` the worker reports and deletes nothing."""

    images: bool = False
    containers: bool = False
    volumes: bool = False
    dry_run: bool = False


# Resources


class RegistrationToken(Struct):
    """A registration token. Only the answer that creates the token contains its secret, in `token`.

    `revoked` is true if a revocation has begun and must be repeated.
    """

    token_id: str
    name: str | None
    created_at: datetime
    expires_at: datetime | None
    max_uses: int
    uses: int
    takeover: bool
    ephemeral: bool
    revoked: bool = False
    token: str | UnsetType = UNSET


class ApiKey(Struct):
    """An API key. Only the answer that creates the key contains its secret, in `key`."""

    key_id: str
    name: str
    role: Role
    created_at: datetime
    key: str | UnsetType = UNSET
    models: list[str] | UnsetType = UNSET
    rpm: int | UnsetType = UNSET
    tpm: int | UnsetType = UNSET
    tpd: int | UnsetType = UNSET
    expires_at: datetime | UnsetType = UNSET


class Condition(Struct):
    """A fault that keeps a worker from some of its work. `type` is a `ConditionType`, or a type of a newer agent.

    `since` is the time at which the control plane first received the type; it stays while the condition is set.
    """

    type: str
    since: datetime
    message: str


class Worker(Struct):
    """A GPU host that is registered with the control plane.

    `gpu_claims` maps the index of a device to the deployment that holds it. `orphans` are ids of what runs on the
    worker and is unknown to the control plane.

    `next_heartbeat_in` is the interval between heartbeats in seconds. `due_in` is the number of seconds until the next
    heartbeat, null while the worker is offline.

    `conditions` is empty if the worker is in order. For a worker that is offline, they are the last ones that it
    reported. `address_pinned` is true if an operator set the address; registrations then do not change it.
    """

    worker_id: str
    name: str
    status: Literal["online", "offline", "draining"]
    last_seen: datetime
    registered_at: datetime
    labels: dict[str, str]
    draining: bool
    address: str | None
    gpu_info: GpuInfo
    gpu_usage: list[GpuUsage]
    gpu_claims: dict[str, str]
    system_info: SystemInfo
    agent_version: str | None
    session: int
    disk: Disk | None
    orphans: list[str]
    next_heartbeat_in: int
    ephemeral: bool
    due_in: int | None
    conditions: list[Condition] = []
    address_pinned: bool = False


class FleetWorker(Struct):
    """A worker in a snapshot of the fleet: what changes with its state. `GET /api/workers/{worker_id}` has the rest.

    A heartbeat by itself is no change: `last_seen` of a worker that is not offline is that of the last change. Devices
    have `index`, `name`, `memory_total`, and `lost`.
    """

    worker_id: str
    name: str
    status: Literal["online", "offline", "draining"]
    last_seen: datetime
    labels: dict[str, str]
    hostname: str
    gpu_info: GpuInfo
    gpu_usage: list[GpuUsage]
    gpu_claims: dict[str, str]
    conditions: list[Condition]


class RemovedWorker(Worker, kw_only=True):
    """The worker as it was. `containers_left` ran at the last report, and may still run."""

    containers_left: list[str]


class LostWorker(Worker, kw_only=True):
    """The worker, and the ids of the deployments that were lost with it."""

    deployments_lost: list[str]


class Crash(Struct):
    """The last failure of a deployment, with the end of its log. `fix` prevents the failure, if a fix is known."""

    at: datetime
    error_code: str
    message: str
    logs: str
    fix: Fix | None = None


class Deployment(Struct):
    """A model that should run (`desired`), and its present state (`status`).

    `reachable` is false while the worker is silent; `status` is then the state at `status_as_of`.

    `endpoint` is the base URL of the model's own API. `endpoint` is null if the worker has no address, or for the
    reason in `endpoint_problem`. While a change is prepared, `endpoint`, `served_model_name`, and `api_key` are those
    of the instance that still serves: of generation `serving_generation` on worker `serving_worker_id`. Both are null
    when nothing serves.

    `env` lists names only. `api_key` opens the model's own API, and only operators and admins receive it. `conditions`
    are those of its worker that hold up the deployment. `crash_loop` is present from the second failure in a row until
    the model has run for 10 minutes.
    """

    deployment_id: str
    name: str
    model: str
    backend: str
    config: dict[str, Any]
    image: str | None
    env: list[str]
    gpus: GpuRequest
    restart: str
    selector: dict[str, str]
    worker_id: str | None
    gpu_indexes: list[int]
    generation: int
    desired: Literal["running", "stopped"]
    status: Status
    status_as_of: datetime
    reachable: bool
    message: str | None
    error_code: str | None
    progress: Progress | None
    container_id: str | None
    port: int | None
    endpoint: str | None
    served_model_name: str
    restarts: int
    last_crash: Crash | None
    created_at: datetime
    updated_at: datetime
    api_key: str | UnsetType = UNSET
    conditions: list[Condition] = []
    serving_generation: int | None = None
    serving_worker_id: str | None = None
    endpoint_problem: str | None = None
    crash_loop: CrashLoop | None = None


class Fleet(Struct):
    """A snapshot of the fleet, or what changed since an earlier one.

    `full`: `workers` and `deployments` are all that there are, and what is missing is gone. Otherwise they are those
    that changed since the request's `since`, and `gone_workers` and `gone_deployments` are the ids that are gone.
    `token` is for the next request's `since`; a new token without a change does not exist.

    Deployments have no `api_key`, and their `last_crash` no `logs`. While a deployment is reachable, `status_as_of` is
    that of its last change.
    """

    token: str
    full: bool
    workers: list[FleetWorker]
    deployments: list[Deployment]
    gone_workers: list[str] = []
    gone_deployments: list[str] = []


class Event(Struct):
    """One entry of a timeline: time, type, reason, and who asked for it.

    The ids name the objects that the event is about. `worker_id` is also the worker on which the deployment was at that
    time. `event_id` is unique, and defines the order.
    """

    at: datetime
    type: str
    message: str
    by: str
    event_id: str
    deployment_id: str | None = None
    deployment_name: str | None = None
    worker_id: str | None = None
    worker_name: str | None = None
    operation_id: str | None = None
    token_id: str | None = None
    key_id: str | None = None
    error_code: str | None = None


class Operation(Struct):
    """A command that a worker runs once. `output` is the answer of the route that created the operation.

    Results are kept for 7 days.
    """

    operation_id: str
    worker_id: str
    type: str
    status: OperationStatus
    created_at: datetime
    expires_at: datetime
    progress: Progress | None = None
    output: dict[str, Any] | None = None
    error_code: str | None = None
    message: str | None = None


class Accepted(Struct):
    """The answer 202: the worker has not answered yet. `operation_id` names the operation to read later."""

    operation_id: str
    status: OperationStatus
    expires_at: datetime
    worker_next_heartbeat_in: int


class ScrapeTarget(Struct):
    """The metrics of a model that runs, as a target for Prometheus.

    Labels that begin with `__` are for Prometheus itself and not for its series.
    """

    targets: list[str]
    labels: dict[str, str]


ScrapeTargets = list[ScrapeTarget]


class WhoAmI(Struct):
    """The name and the role of the API key of the request."""

    name: str
    role: Role


class Health(Struct):
    """The API and its database answer; `version` is that of the control plane."""

    status: Literal["ok"]
    version: str


class ErrorBody(Struct):
    """`muster explain` and docs/troubleshooting.md have a section for each `error_code`."""

    error_code: str
    message: str


# Lists


class RegistrationTokens(Struct):
    registration_tokens: list[RegistrationToken]
    next_token: str | None = None


class ApiKeys(Struct):
    api_keys: list[ApiKey]
    next_token: str | None = None


class Workers(Struct):
    workers: list[Worker]
    next_token: str | None = None


class Deployments(Struct):
    deployments: list[Deployment]
    next_token: str | None = None


class Operations(Struct):
    operations: list[Operation]
    next_token: str | None = None


class Events(Struct):
    """Newest first. `cursor`, given back as `after`, answers what came since; pages of the past have none."""

    events: list[Event]
    next_token: str | None = None
    cursor: str | None = None
