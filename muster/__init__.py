"""Muster for programs and people: `Client`, and in `cli` the command line on top of it (docs/cli.md, docs/adr/0016)."""

from chalicelib.contract.resources import (
    DeploymentPatch,
    NewDeployment,
    NewRegistrationToken,
    PruneRequest,
    WorkerPatch,
)
from muster.client import Client, settled
from muster.errors import (
    AuthError,
    Conflict,
    Invalid,
    MusterError,
    NotFound,
    TimedOut,
    Unreachable,
    WorkerFailed,
)

__all__ = [
    "AuthError",
    "Client",
    "Conflict",
    "DeploymentPatch",
    "Invalid",
    "MusterError",
    "NewDeployment",
    "NewRegistrationToken",
    "NotFound",
    "PruneRequest",
    "TimedOut",
    "Unreachable",
    "WorkerFailed",
    "WorkerPatch",
    "settled",
]
