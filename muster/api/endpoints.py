"""Every route of the API: access, request, answer. The routes and the OpenAPI document are made from this table."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

from muster.api import gateways as g
from muster.api import messages as m
from muster.api import resources as r
from muster.api.structs import Value


class Access(IntEnum):
    """Who may call a route. A role includes the roles below it, down to VIEWER; the others are outside that order.

    GATEWAY opens the gateways' routes alone. CALLER opens none: gateways let callers reach models.
    """

    CALLER = -2
    GATEWAY = -1
    ANYONE = 0
    WORKER = 1
    VIEWER = 2
    OPERATOR = 3
    ADMIN = 4


class Endpoint(Value, frozen=True):
    """`own_worker` opens an operators' route to the worker whose id is in the path; `waits` may answer 202.

    `authenticates_itself`: the handler checks the credential, in the write that it makes anyway.

    `answer` is a struct, or a list of one. A request with an `or_body` in place of `body` is answered with `or_answer`.
    """

    name: str
    method: str
    path: str
    access: Access
    summary: str
    answer: type[Struct] | type[list[r.ScrapeTarget]] | None = None
    body: type[Struct] | None = None
    query: type[Struct] | None = None
    status: int = 200
    own_worker: bool = False
    waits: bool = False
    idempotent: bool = False
    authenticates_itself: bool = False
    media: str = "application/json"
    or_body: type[Struct] | None = None
    or_answer: type[Struct] | None = None


WORKER = "/api/workers/{worker_id}"
DEPLOYMENT = "/api/deployments/{deployment_id}"
A = Access

# A table: one route a line.
# fmt: off
ENDPOINTS: tuple[Endpoint, ...] = (
    # What a worker calls
    Endpoint("register", "POST", "/api/workers/register", A.ANYONE, "Register a worker, or register it again, with a token", m.Registered, m.Registration),
    Endpoint("heartbeat", "POST", f"{WORKER}/heartbeat", A.WORKER, "Send a heartbeat; receive commands", m.HeartbeatAnswer, m.Heartbeat, authenticates_itself=True, or_body=m.ShortHeartbeat, or_answer=m.ShortHeartbeatAnswer),
    Endpoint("report", "POST", f"{WORKER}/deployments/{{deployment_id}}/status", A.WORKER, "Report a deployment's status", m.Applied, m.Report),
    Endpoint("result", "POST", f"{WORKER}/commands/{{command_id}}/result", A.WORKER, "Report an operation's result", m.Applied, m.Result),
    Endpoint("worker_gateways", "POST", f"{WORKER}/gateways", A.WORKER, "Get new tickets for the gateways", m.Gateways),
    # Containers, images, storage
    Endpoint("container_logs", "GET", f"{WORKER}/containers/{{container_id}}/logs", A.VIEWER, "A container's log", m.Logs, query=r.LogsQuery, own_worker=True, waits=True),
    Endpoint("list_images", "GET", f"{WORKER}/images", A.VIEWER, "The images on a worker", m.Images, query=r.ReportQuery, own_worker=True, waits=True),
    Endpoint("pull_image", "POST", f"{WORKER}/images/pull", A.OPERATOR, "Pull an image", m.Pulled, r.PullRequest, r.PullQuery, own_worker=True, waits=True, idempotent=True),
    Endpoint("delete_image", "DELETE", f"{WORKER}/images/{{image_id}}", A.OPERATOR, "Delete an image", m.Deleted, query=r.DeleteImageQuery, own_worker=True, waits=True),
    Endpoint("disk_usage", "GET", f"{WORKER}/storage/disk", A.VIEWER, "Disk usage of a worker", m.Disk, query=r.ReportQuery, own_worker=True, waits=True),
    Endpoint("prune", "POST", f"{WORKER}/storage/prune", A.OPERATOR, "Delete what Muster left behind and nothing uses", m.Pruned, r.PruneRequest, r.WaitQuery, own_worker=True, waits=True, idempotent=True),
    Endpoint("list_containers", "GET", f"{WORKER}/containers", A.VIEWER, "The containers on a worker", m.Containers, query=r.WaitQuery, waits=True),
    Endpoint("stop_container", "POST", f"{WORKER}/containers/{{container_id}}/stop", A.OPERATOR, "Stop a container that Muster started", m.Container, query=r.WaitQuery, waits=True, idempotent=True),
    Endpoint("list_models", "GET", f"{WORKER}/models", A.VIEWER, "The weights in a worker's cache", m.Models, query=r.WaitQuery, waits=True),
    Endpoint("delete_model", "DELETE", f"{WORKER}/models/{{model}}", A.OPERATOR, "Delete weights from a worker's cache", m.Deleted, query=r.WaitQuery, waits=True),
    # Credentials
    Endpoint("create_token", "POST", "/api/registration-tokens", A.OPERATOR, "Create a registration token", r.RegistrationToken, r.NewRegistrationToken, status=201, idempotent=True),
    Endpoint("list_tokens", "GET", "/api/registration-tokens", A.OPERATOR, "List registration tokens", r.RegistrationTokens, query=r.PageQuery),
    Endpoint("revoke_token", "DELETE", "/api/registration-tokens/{token_id}", A.OPERATOR, "Revoke a registration token", r.RegistrationToken),
    Endpoint("create_key", "POST", "/api/api-keys", A.OPERATOR, "Create an API key", r.ApiKey, r.NewApiKey, status=201, idempotent=True),
    Endpoint("list_keys", "GET", "/api/api-keys", A.OPERATOR, "List API keys", r.ApiKeys, query=r.KeysQuery),
    Endpoint("whoami", "GET", "/api/whoami", A.VIEWER, "Return the name and the role of the API key", r.WhoAmI),
    Endpoint("revoke_key", "DELETE", "/api/api-keys/{key_id}", A.OPERATOR, "Revoke an API key", r.ApiKey),
    # Workers
    Endpoint("list_workers", "GET", "/api/workers", A.VIEWER, "Workers", r.Workers, query=r.PageQuery),
    Endpoint("get_worker", "GET", WORKER, A.VIEWER, "A worker", r.Worker),
    Endpoint("patch_worker", "PATCH", WORKER, A.OPERATOR, "Label, drain or re-address a worker", r.Worker, r.WorkerPatch),
    Endpoint("remove_worker", "DELETE", WORKER, A.ADMIN, "Remove a worker", r.RemovedWorker, query=r.ForceQuery),
    Endpoint("worker_events", "GET", f"{WORKER}/events", A.VIEWER, "A worker's timeline, newest first", r.Events, query=r.EventsQuery),
    Endpoint("lose_worker", "POST", f"{WORKER}/lost", A.OPERATOR, "Declare a worker lost", r.LostWorker),
    # Deployments
    Endpoint("create_deployment", "POST", "/api/deployments", A.OPERATOR, "Deploy a model", r.Deployment, r.NewDeployment, status=201, idempotent=True),
    Endpoint("list_deployments", "GET", "/api/deployments", A.VIEWER, "Deployments", r.Deployments, query=r.DeploymentsQuery),
    Endpoint("get_deployment", "GET", DEPLOYMENT, A.VIEWER, "A deployment", r.Deployment),
    Endpoint("patch_deployment", "PATCH", DEPLOYMENT, A.OPERATOR, "Change a deployment: a new generation", r.Deployment, r.DeploymentPatch),
    Endpoint("delete_deployment", "DELETE", DEPLOYMENT, A.OPERATOR, "Delete a deployment that is stopped or in error", r.Deployment),
    Endpoint("stop_deployment", "POST", f"{DEPLOYMENT}/stop", A.OPERATOR, "Stop a deployment", r.Deployment, idempotent=True),
    Endpoint("start_deployment", "POST", f"{DEPLOYMENT}/start", A.OPERATOR, "Start a stopped deployment", r.Deployment, idempotent=True),
    Endpoint("restart_deployment", "POST", f"{DEPLOYMENT}/restart", A.OPERATOR, "Replace a deployment's container", r.Deployment, idempotent=True),
    Endpoint("deployment_logs", "GET", f"{DEPLOYMENT}/logs", A.VIEWER, "The log of a deployment's current or last container", m.Logs, query=r.LogsQuery, waits=True),
    Endpoint("deployment_events", "GET", f"{DEPLOYMENT}/events", A.VIEWER, "A deployment's timeline, newest first", r.Events, query=r.EventsQuery),
    Endpoint("fleet", "GET", "/api/fleet", A.VIEWER, "The whole fleet as a snapshot, or what changed since one", r.Fleet, query=r.FleetQuery),
    # Gateways
    Endpoint("register_gateway", "POST", "/api/gateways", A.GATEWAY, "Register a gateway, or renew its registration", g.GatewayRegistered, g.GatewayRegistration),
    Endpoint("list_gateways", "GET", "/api/gateways", A.VIEWER, "The gateways that registered within five minutes", g.GatewayList),
    Endpoint("leave_gateway", "DELETE", "/api/gateways/{gateway_id}", A.GATEWAY, "End a gateway's registration", r.Nothing),
    Endpoint("gateway_routes", "GET", "/api/gateway/routes", A.GATEWAY, "Which models serve where, and who may call them", g.Routes, query=g.RoutesQuery),
    Endpoint("report_usage", "POST", "/api/gateway/usage", A.GATEWAY, "Report what callers used", g.UsageStored, g.UsageReport),
    Endpoint("usage", "GET", "/api/usage", A.VIEWER, "What callers used, by key, model, or day", g.Usage, query=g.UsageQuery),
    # Operations and the service itself
    Endpoint("list_operations", "GET", f"{WORKER}/operations", A.VIEWER, "The open operations of a worker", r.Operations),
    Endpoint("get_operation", "GET", "/api/operations/{operation_id}", A.VIEWER, "An operation and its result", r.Operation),
    Endpoint("cancel_operation", "DELETE", "/api/operations/{operation_id}", A.OPERATOR, "Cancel an operation that was not sent yet", r.Operation),
    Endpoint("events", "GET", "/api/events", A.VIEWER, "The timeline of everything, newest first", r.Events, query=r.EventsQuery),
    Endpoint("metrics", "GET", "/api/metrics", A.VIEWER, "The fleet in Prometheus' text format", query=r.MetricsQuery, media="text/plain"),
    Endpoint("discover", "GET", "/api/discovery/prometheus", A.VIEWER, "The running models' own metrics, for Prometheus' http_sd", r.ScrapeTargets),
    Endpoint("health", "GET", "/api/health", A.ANYONE, "Whether the API and its database answer", r.Health),
    Endpoint("openapi", "GET", "/api/openapi.json", A.ANYONE, "This document"),
)
# fmt: on

BY_NAME: dict[str, Endpoint] = {endpoint.name: endpoint for endpoint in ENDPOINTS}
