"""Every route of PROTOCOL.md as a table; the tests of all routes are driven by it."""

from dataclasses import dataclass

from .client import Json
from .workers import Worker

NOBODY = "00000000-0000-4000-8000-000000000000"
ROLES = ("viewer", "operator", "admin")


@dataclass(frozen=True)
class Route:
    """`role` is the least that may call it, "" where no API key may; `worker` whether a worker's own token opens it."""

    method: str
    path: str
    role: str
    worker: bool = False
    body: Json = None
    unknown: str = ""
    """The error code for an id in the path that names nothing."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def at(self, worker_id: str) -> str:
        """The path on that worker; every other id in it names nothing."""
        path = self.path.replace("{worker_id}", worker_id)
        for name in ("deployment_id", "operation_id", "command_id", "container_id", "image_id", "token_id", "key_id"):
            path = path.replace(f"{{{name}}}", NOBODY)
        return path.replace("{model}", "facebook%2Fopt-125m")

    @property
    def too_low(self) -> str | None:
        """The highest role that may not call it."""
        rank = ROLES.index(self.role) if self.role else 0
        return ROLES[rank - 1] if rank else None


EXAMPLE = Worker("", "").registration()

REGISTER = Route("POST", "/api/workers/register", "", body=EXAMPLE)

WORKER_ONLY = [
    Route("POST", "/api/workers/{worker_id}/heartbeat", "", True, Worker("", "").heartbeat()),
    Route(
        "POST",
        "/api/workers/{worker_id}/deployments/{deployment_id}/status",
        "",
        True,
        {"status": "running", "container_id": "abc123", "port": 8001, "message": "Model loaded successfully"},
        "DEPLOYMENT_NOT_FOUND",
    ),
    Route(
        "POST",
        "/api/workers/{worker_id}/commands/{command_id}/result",
        "",
        True,
        {"status": "failed", "error_code": "IMAGE_NOT_FOUND", "message": "no such image"},
        "OPERATION_NOT_FOUND",
    ),
]

SHARED = [
    Route(*line[:3], worker=True, body=line[3], unknown="WORKER_NOT_FOUND")
    for line in [
        ("GET", "/api/workers/{worker_id}/containers/{container_id}/logs", "viewer", None),
        ("GET", "/api/workers/{worker_id}/images", "viewer", None),
        ("POST", "/api/workers/{worker_id}/images/pull", "operator", {"image": "vllm/vllm-openai:latest"}),
        ("DELETE", "/api/workers/{worker_id}/images/{image_id}", "operator", None),
        ("GET", "/api/workers/{worker_id}/storage/disk", "viewer", None),
        ("POST", "/api/workers/{worker_id}/storage/prune", "operator", {"images": True, "containers": True}),
    ]
]

OPERATOR_ONLY = [
    Route("POST", "/api/registration-tokens", "operator", body={"name": "for a test", "max_uses": 1}),
    Route("GET", "/api/registration-tokens", "operator"),
    Route("DELETE", "/api/registration-tokens/{token_id}", "operator", unknown="TOKEN_NOT_FOUND"),
    Route("POST", "/api/api-keys", "admin", body={"name": "for a test", "role": "viewer"}),
    Route("GET", "/api/api-keys", "admin"),
    Route("DELETE", "/api/api-keys/{key_id}", "admin", unknown="KEY_NOT_FOUND"),
    Route("GET", "/api/workers", "viewer"),
    Route("GET", "/api/workers/{worker_id}", "viewer", unknown="WORKER_NOT_FOUND"),
    Route("PATCH", "/api/workers/{worker_id}", "operator", body={"draining": False}, unknown="WORKER_NOT_FOUND"),
    Route("DELETE", "/api/workers/{worker_id}", "admin", unknown="WORKER_NOT_FOUND"),
    Route("POST", "/api/workers/{worker_id}/lost", "operator", unknown="WORKER_NOT_FOUND"),
    Route("GET", "/api/workers/{worker_id}/containers", "viewer", unknown="WORKER_NOT_FOUND"),
    Route("POST", "/api/workers/{worker_id}/containers/{container_id}/stop", "operator", unknown="WORKER_NOT_FOUND"),
    Route("GET", "/api/workers/{worker_id}/models", "viewer", unknown="WORKER_NOT_FOUND"),
    Route("DELETE", "/api/workers/{worker_id}/models/{model}", "operator", unknown="WORKER_NOT_FOUND"),
    Route("POST", "/api/deployments", "operator", body={"model": "facebook/opt-125m"}),
    Route("GET", "/api/deployments", "viewer"),
    Route("GET", "/api/deployments/{deployment_id}", "viewer", unknown="DEPLOYMENT_NOT_FOUND"),
    Route("PATCH", "/api/deployments/{deployment_id}", "operator", body={"config": {}}, unknown="DEPLOYMENT_NOT_FOUND"),
    Route("DELETE", "/api/deployments/{deployment_id}", "operator", unknown="DEPLOYMENT_NOT_FOUND"),
    Route("POST", "/api/deployments/{deployment_id}/stop", "operator", unknown="DEPLOYMENT_NOT_FOUND"),
    Route("POST", "/api/deployments/{deployment_id}/start", "operator", unknown="DEPLOYMENT_NOT_FOUND"),
    Route("POST", "/api/deployments/{deployment_id}/restart", "operator", unknown="DEPLOYMENT_NOT_FOUND"),
    Route("GET", "/api/deployments/{deployment_id}/logs", "viewer", unknown="DEPLOYMENT_NOT_FOUND"),
    Route("GET", "/api/deployments/{deployment_id}/events", "viewer", unknown="DEPLOYMENT_NOT_FOUND"),
    Route("GET", "/api/workers/{worker_id}/operations", "viewer", unknown="WORKER_NOT_FOUND"),
    Route("GET", "/api/workers/{worker_id}/events", "viewer", unknown="WORKER_NOT_FOUND"),
    Route("GET", "/api/events", "viewer"),
    Route("GET", "/api/operations/{operation_id}", "viewer", unknown="OPERATION_NOT_FOUND"),
    Route("DELETE", "/api/operations/{operation_id}", "operator", unknown="OPERATION_NOT_FOUND"),
    Route("GET", "/api/whoami", "viewer"),
    Route("GET", "/api/metrics", "viewer"),
    Route("GET", "/api/discovery/prometheus", "viewer"),
]

OPEN = [Route("GET", "/api/health", ""), Route("GET", "/api/openapi.json", "")]

GUARDED = [*WORKER_ONLY, *SHARED, *OPERATOR_ONLY]
"""All that ask for an Authorization header; `register` has its credential in the body, OPEN none."""

EVERY = [REGISTER, *GUARDED, *OPEN]
WITH_BODY = [route for route in EVERY if route.body is not None]
