"""What gateways, agents, and the control plane send each other so that callers reach models (docs/protocol.md).

    gateway ── GatewayRegistration, UsageReport ──► control plane ── GatewayRegistered, Routes ──► gateway
    agent ── Registration with `features` ──► control plane ── Gateways ──► agent ── its ticket ──► gateway

Times are epoch seconds, durations are seconds. Unknown fields are ignored, so that each part may be newer than another.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from muster.api.messages import Count, Id, Text

GatewayUrl = Annotated[str, Meta(min_length=1, max_length=512, pattern=r"^https?://[^\x00-\x20\x7f]+(?!\n)$")]
Selector = Annotated[str, Meta(max_length=1024)]
Day = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d(?!\n)$")]
"""A day in UTC, as 2026-12-31."""

# For gateways


class GatewayRegistration(Struct):
    """Body of `POST /api/gateways`, every 30 seconds. The gateway is known by its key and this URL.

    `selector`: the labels of the workers that are to dial it, as in RoutesQuery; all workers without it.
    """

    url: GatewayUrl
    version: Annotated[str, Meta(max_length=64)] = ""
    selector: Selector | None = None


class TicketKey(Struct):
    """A version of the key with which tickets for this gateway are signed; `key` is base64 on the wire."""

    version: int
    key: bytes


class GatewayRegistered(Struct):
    """`ticket_keys` are the versions that are valid now, at most two; `renew_in` is when to register again."""

    gateway_id: str
    ticket_keys: list[TicketKey]
    renew_in: float


class RoutesQuery(Struct):
    """`selector`: labels that a worker must have, as `site=lab,gpu=h200`; all workers without it.

    `fresh`: as of now, and not of a few seconds ago, for a gateway whose caller names what may be new.
    """

    selector: Selector | None = None
    fresh: bool = False


class Replica(Struct, omit_defaults=True):
    """A deployment that serves `model`, the name that callers use, on a worker.

    `endpoint` and `key` are set only where an operator pinned the worker's address: the gateway may then reach the
    model directly, with the model's own key. `tunnel`: whether the worker's agent serves models through tunnels.
    """

    deployment_id: str
    model: str
    worker_id: str
    worker: str
    tunnel: bool = False
    endpoint: str | None = None
    key: str | None = None


class StartingModel(Struct, omit_defaults=True):
    """A deployment that is on its way to serve `model`. `percent` is of the whole start, if it is known."""

    deployment_id: str
    model: str
    status: str
    message: str | None = None
    percent: float | None = None
    since: float | None = None


class Caller(Struct, omit_defaults=True):
    """An API key of the role `caller`: `digest` is the SHA-256 of the secret, in hexadecimal.

    `models` are the names that it may use, all if it is empty. A limit that is None does not apply: `rpm` requests and
    `tpm` tokens in a minute, `tpd` tokens in a day.
    """

    key_id: str
    digest: str
    name: str
    models: list[str] = []
    rpm: int | None = None
    tpm: int | None = None
    tpd: int | None = None
    expires_at: float | None = None


class Routes(Struct):
    """The answer of `GET /api/gateway/routes`. `poll` is the number of seconds between two questions."""

    replicas: list[Replica]
    starting: list[StartingModel]
    callers: list[Caller]
    poll: float


class UsageSum(Struct):
    """What one API key used of one model on one day, as a gateway's ledger has added it up since the day began."""

    key_id: Id
    model: Text
    day: Day
    requests: Count = 0
    prompt_tokens: Count = 0
    completion_tokens: Count = 0


class UsageReport(Struct):
    """Body of `POST /api/gateway/usage`. A sum replaces the one of the same ledger, key, model, and day, unless it is
    smaller: sending it twice changes nothing.
    """

    ledger_id: Id
    sums: Annotated[list[UsageSum], Meta(max_length=100)]


class UsageStored(Struct):
    """How many sums were stored; the others were smaller than what is stored."""

    stored: int


# For operators


class Gateway(Struct):
    """A gateway that registered within the last five minutes."""

    gateway_id: str
    url: str
    version: str
    key_id: str
    renewed_at: str


class GatewayList(Struct):
    gateways: list[Gateway]


class UsageQuery(Struct):
    """`since` and `until` are days (inclusive), by default the last seven; `by` what one row is about."""

    by: Literal["key", "model", "day", "key,model"] = "key"
    since: Day | None = None
    until: Day | None = None


class UsageRow(Struct, omit_defaults=True):
    """Requests and tokens of a key, a model, or a day. `key` is the name of the key, or its id if it was revoked."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    key: str | None = None
    key_id: str | None = None
    model: str | None = None
    day: str | None = None


class Usage(Struct):
    """What callers used from the day `since` to the day `until`, both included."""

    since: str
    until: str
    rows: list[UsageRow]
