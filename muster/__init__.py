"""Muster's Python API: `Client`, the types that its methods take and return, and its errors (docs/client.md).

    from muster import Client, NewDeployment

Names are imported when they are first used, so that `import muster` alone loads no other module. `_HOME` is the one
place that names the modules; type checkers read the same imports below. tests/muster/test_public.py holds them equal.

| module or room | what it owns |
|---|---|
| `client` | `Client`, a method for each route |
| `transport`, `direct`, `session` | a request to a control plane, through the standard library or through requests |
| `http` | sessions, credentials, and limits of every client |
| `exceptions` | what the client raises |
| `api` | the wire, shared by everyone |
| `cli` | the command line |
| `gateway` | one OpenAI-compatible address for all models |
| `tunnel`, `model_http`, `serving` | HTTP/2 over a WebSocket; HTTP/1.1 to models; an HTTP/1.1 server |
| `litellm` | a LiteLLM proxy that follows what runs |
| `diagnostics` | from a log to a code and a fix |
| `files` | SQLite files that outlive a release |
| `sanitize` | texts from outside, for terminals and logs |
| `extras` | the optional parts of the distribution |
"""

TYPE_CHECKING = False  # type checkers take a variable of this name as true; importing it would load `typing`

if TYPE_CHECKING:
    from msgspec import UNSET

    from muster.api.gateways import Gateway, Usage, UsageRow
    from muster.api.lifecycle import OperationStatus, Status
    from muster.api.messages import (
        CachedModel,
        Container,
        Containers,
        CrashLoop,
        Deleted,
        Disk,
        DiskPath,
        Fix,
        FromHost,
        GpuDevice,
        GpuInfo,
        GpuProcess,
        GpuUsage,
        Image,
        Images,
        Kept,
        Logs,
        Models,
        Progress,
        Pruned,
        Pulled,
        SystemInfo,
    )
    from muster.api.resources import (
        Accepted,
        ApiKey,
        Condition,
        Crash,
        Deployment,
        DeploymentPatch,
        Event,
        Fleet,
        FleetWorker,
        Health,
        LostWorker,
        NewDeployment,
        NewRegistrationToken,
        Operation,
        PruneRequest,
        RegistrationToken,
        RemovedWorker,
        Role,
        ScrapeTarget,
        WhoAmI,
        Worker,
        WorkerPatch,
    )
    from muster.client import About, Client, Clock, Watch, settled
    from muster.exceptions import (
        AuthError,
        Conflict,
        Invalid,
        MusterError,
        NotFound,
        TimedOut,
        Unreachable,
        WorkerFailed,
    )

_HOMES = {
    "msgspec": "UNSET",
    "muster.api.gateways": "Gateway Usage UsageRow",
    "muster.api.lifecycle": "OperationStatus Status",
    "muster.api.messages": (
        "CachedModel Container Containers CrashLoop Deleted Disk DiskPath Fix FromHost GpuDevice GpuInfo GpuProcess "
        "GpuUsage Image Images Kept Logs Models Progress Pruned Pulled SystemInfo"
    ),
    "muster.api.resources": (
        "Accepted ApiKey Condition Crash Deployment DeploymentPatch Event Fleet FleetWorker Health LostWorker "
        "NewDeployment NewRegistrationToken Operation PruneRequest RegistrationToken RemovedWorker Role ScrapeTarget "
        "WhoAmI Worker WorkerPatch"
    ),
    "muster.client": "About Client Clock Watch settled",
    "muster.exceptions": "AuthError Conflict Invalid MusterError NotFound TimedOut Unreachable WorkerFailed",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "UNSET",
    "About",
    "Accepted",
    "ApiKey",
    "AuthError",
    "CachedModel",
    "Client",
    "Clock",
    "Condition",
    "Conflict",
    "Container",
    "Containers",
    "Crash",
    "CrashLoop",
    "Deleted",
    "Deployment",
    "DeploymentPatch",
    "Disk",
    "DiskPath",
    "Event",
    "Fix",
    "Fleet",
    "FleetWorker",
    "FromHost",
    "Gateway",
    "GpuDevice",
    "GpuInfo",
    "GpuProcess",
    "GpuUsage",
    "Health",
    "Image",
    "Images",
    "Invalid",
    "Kept",
    "Logs",
    "LostWorker",
    "Models",
    "MusterError",
    "NewDeployment",
    "NewRegistrationToken",
    "NotFound",
    "Operation",
    "OperationStatus",
    "Progress",
    "PruneRequest",
    "Pruned",
    "Pulled",
    "RegistrationToken",
    "RemovedWorker",
    "Role",
    "ScrapeTarget",
    "Status",
    "SystemInfo",
    "TimedOut",
    "Unreachable",
    "Usage",
    "UsageRow",
    "Watch",
    "WhoAmI",
    "Worker",
    "WorkerFailed",
    "WorkerPatch",
    "settled",
]
__version__: str
"""Of this release, such as 0.2.0."""


if not TYPE_CHECKING:  # a checker that sees `__getattr__` would accept every name

    def __getattr__(name: str) -> object:
        """Import the public name from its module, once. Raises AttributeError for any other name."""
        if name in _HOME:
            from importlib import import_module

            value: object = getattr(import_module(_HOME[name]), name)
        elif name == "__version__":
            from muster.api.version import VERSION as value
        else:
            raise AttributeError(f"module 'muster' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
