"""Credentials: made once, stored as digests, looked up by an id that is derived from the secret itself."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from typing import Literal

import msgspec
from msgspec import Struct
from pynamodb.transactions import TransactWrite

from chalicelib.fleet import scan
from chalicelib.store import events, idempotency, paging
from chalicelib.store.items import TransactionConflict, delete_if, find, put_if, side_by_side, transact, update_if
from chalicelib.store.tables import Credential, FirstKey, WorkerHeartbeat
from chalicelib.store.times import when
from muster.api import resources as r
from muster.api.endpoints import Access
from muster.api.errors import ApiError
from muster.api.structs import Value

PREFIX = {"registration": "mst_reg_", "key": "mst_key_", "worker": "mst_wrk_"}
SEEDED_USES = 1_000_000
MAX_RETIRED_DIGESTS = 2
REVOCATION_SEGMENTS = 8
"""Segments of the heartbeats, and threads, in which a revocation looks for workers that use the token."""
NOT_REVOKED = Credential.credential_id.exists() & Credential.revoked.does_not_exist()
ROLES = {
    "viewer": Access.VIEWER,
    "operator": Access.OPERATOR,
    "admin": Access.ADMIN,
    "gateway": Access.GATEWAY,
    "caller": Access.CALLER,
}
OPERATORS_ROLES = frozenset({"viewer", "operator", "admin"})
"""The roles of people, which clients of release 0.1.0 know."""
CALLER = "caller"
"""The kind of the keys of callers, which are listed apart: gateways read them again and again."""
KEY_KINDS = frozenset({"key", CALLER})


class Principal(Value, frozen=True):
    """Who calls: a worker under its own id, or an API key with its role. `label` is what timelines show.

    `provisional`: a client that was kept aside (provisional.py). What it reports changes nothing.
    """

    label: str
    access: Access
    id: str = ""
    provisional: bool = False


def new_secret(kind: Literal["registration", "key", "worker"], worker_id: str = "") -> str:
    """256 random bits behind a prefix that says what it is, and for a worker whose."""
    return PREFIX[kind] + (f"{worker_id}_" if worker_id else "") + secrets.token_urlsafe(32)


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def credential_id(secret: str) -> str:
    """Derived by one more hash, so that an id in a list says nothing about the stored digest."""
    return str(uuid.UUID(bytes=hashlib.sha256(b"id" + digest(secret)).digest()[:16], version=4))


def worker_named_by(secret: str) -> str | None:
    """The worker id inside a worker token."""
    prefix = PREFIX["worker"]
    return secret[len(prefix) :].split("_", 1)[0] if secret.startswith(prefix) else None


def lookup(secret: str, *kinds: str) -> Credential | None:
    """The credential of this secret, whether or not it may still be used."""
    found = find(Credential, credential_id(secret))
    if found and found.kind in kinds and hmac.compare_digest(bytes(found.digest), digest(secret)):
        return found
    return None


def api_key(secret: str) -> Principal | None:
    found = lookup(secret, *KEY_KINDS)
    return Principal(f"key {found.name}", ROLES[str(found.role)], found.credential_id) if found else None


def usable(token: Credential, now: float) -> bool:
    """Whether a registration token may let another worker in."""
    expired = token.expires_at is not None and token.expires_at <= now
    return not token.revoked and not expired and token.uses < (token.max_uses or 0)


def is_own(heartbeat: WorkerHeartbeat, presented: bytes, now: float) -> bool:
    """Whether it was issued to this worker: the latest token and, for a while, those that it may know instead."""
    before = _same(heartbeat.previous, presented) or _same(heartbeat.used, presented)
    is_in_grace = before and (heartbeat.previous_until or 0) > now
    return not heartbeat.gone and (_same(heartbeat.digest, presented) or is_in_grace)


def opens(heartbeat: WorkerHeartbeat, presented: bytes, now: float) -> bool:
    """Whether it opens the worker's routes: its own, or until that was used the token that it registered with."""
    return is_own(heartbeat, presented, now) or (not heartbeat.gone and _same(heartbeat.joined, presented))


def was_retired(heartbeat: WorkerHeartbeat, presented: bytes) -> bool:
    retired = bytes(heartbeat.retired or b"")
    return any(_same(retired[i : i + 32], presented) for i in range(0, len(retired), 32))


def first_use(heartbeat: WorkerHeartbeat, presented: bytes) -> None:
    """The issued token was used: the ones it replaces end now."""
    if not _same(heartbeat.digest, presented) or (heartbeat.previous is None and heartbeat.joined is None):
        return
    ended = [
        WorkerHeartbeat.previous.remove(),
        WorkerHeartbeat.used.remove(),
        WorkerHeartbeat.previous_until.remove(),
        WorkerHeartbeat.joined.remove(),
    ]
    replaced = {bytes(digest) for digest in (heartbeat.previous, heartbeat.used) if digest}
    newly_retired = {digest for digest in replaced if not was_retired(heartbeat, digest)}
    actions = [*ended, WorkerHeartbeat.retired.set(retire(heartbeat, *newly_retired))]
    update_if(heartbeat, actions, WorkerHeartbeat.digest == presented)


def retire(heartbeat: WorkerHeartbeat, *ended: bytes) -> bytes:
    """Digests of what opens no more, the latest first: whoever has one is told that a newer session registered."""
    return (b"".join(ended) + bytes(heartbeat.retired or b""))[: 32 * MAX_RETIRED_DIGESTS]


def _same(stored: bytes | None, presented: bytes) -> bool:
    return stored is not None and hmac.compare_digest(bytes(stored), presented)


# What operators do with them


def create_token(
    body: r.NewRegistrationToken, by: Principal, now: float, key: idempotency.Key | None = None
) -> r.RegistrationToken:
    """A new registration token, whose secret is only in this answer. Raises FORBIDDEN, IDEMPOTENCY_MISMATCH."""
    if body.takeover and by.access < Access.ADMIN:
        raise ApiError("FORBIDDEN", "only an admin may make a takeover token")
    secret = new_secret("registration")
    item = _registration(secret, body, now)
    found = _create(item, key, now)
    if not found:
        _tell(item, "created", _allows(body), by, now)
    return _token_view(found) if found else _token_view(item, secret)


class Limits(Struct, omit_defaults=True):
    """What a caller's key allows, as it is stored: the fields of `NewApiKey`."""

    models: list[str] = []
    rpm: int | None = None
    tpm: int | None = None
    tpd: int | None = None


def limits_of(item: Credential) -> Limits:
    return msgspec.json.decode(item.limits, type=Limits) if item.limits else Limits()


class _Changes:
    """How often this process made or revoked a caller's key."""

    count = 0


CALLERS_CHANGED = _Changes()


def create_key(body: r.NewApiKey, by: Principal, now: float, key: idempotency.Key | None = None) -> r.ApiKey:
    """A new API key, whose secret is only in this answer. Raises FORBIDDEN, INVALID_REQUEST, IDEMPOTENCY_MISMATCH."""
    _may_manage(body.role, by)
    _check_limits(body)
    secret = new_secret("key")
    item = _credential(secret, CALLER if body.role == CALLER else "key", now)
    item.name, item.role = body.name, body.role
    if body.role == CALLER:
        limits = Limits(sorted(set(body.models)), body.rpm, body.tpm, body.tpd)
        item.limits = msgspec.json.encode(limits).decode()
        item.expires_at = now + body.expires_in if body.expires_in else None
    found = _create(item, key, now)
    if not found:
        CALLERS_CHANGED.count += 1
        _tell(item, "created", f"{body.name}, {body.role}", by, now)
    return _key_view(found) if found else _key_view(item, secret)


def _may_manage(role: str | None, by: Principal) -> None:
    """Operators manage callers' keys; only admins manage others. Raises FORBIDDEN."""
    if role != CALLER and by.access < Access.ADMIN:
        raise ApiError(
            "FORBIDDEN", f"this needs the role admin; the role {by.access.name.lower()} manages keys of callers"
        )


def _check_limits(body: r.NewApiKey) -> None:
    """Raises INVALID_REQUEST."""
    given = [name for name in ("models", "rpm", "tpm", "tpd", "expires_in") if getattr(body, name)]
    if given and body.role != CALLER:
        raise ApiError("INVALID_REQUEST", f"{given[0]}: only keys of the role caller have it; the role is {body.role}")


def first_admin_key(name: str, by: Principal, now: float) -> r.ApiKey | None:
    """An admin's key, if there is none. Of several that ask at once one gets it, though the index may lag behind."""
    before = find(FirstKey, FirstKey.ID)
    if (before and find(Credential, before.owner)) or _has_admin():
        return None
    secret = new_secret("key")
    item = _credential(secret, "key", now)
    item.name, item.role = name, "admin"
    unchanged = FirstKey.owner == before.owner if before else FirstKey.key.does_not_exist()

    def build(transaction: TransactWrite) -> None:
        transaction.save(item, condition=Credential.credential_id.does_not_exist())
        transaction.save(FirstKey(FirstKey.ID, owner=item.credential_id), condition=unchanged)

    try:
        transact(build)
    except TransactionConflict:
        return None
    _tell(item, "created", f"{name}, admin", by, now)
    return _key_view(item, secret)


def _has_admin() -> bool:
    query = r.PageQuery()
    while True:
        keys, query.next_token = paging.page(Credential, "key", query, lambda item: item.role == "admin")
        if keys or not query.next_token:
            return bool(keys)


def list_tokens(query: r.PageQuery) -> r.RegistrationTokens:
    items, next_token = paging.page(Credential, "registration", query)
    return r.RegistrationTokens([_token_view(item) for item in items], next_token)


def list_keys(query: r.KeysQuery, by: Principal) -> r.ApiKeys:
    """Raises FORBIDDEN for an operator who asks for others than callers'."""
    _may_manage(query.role, by)
    wanted = {query.role} if query.role else OPERATORS_ROLES
    kind = CALLER if query.role == CALLER else "key"
    items, next_token = paging.page(Credential, kind, query, lambda item: item.role in wanted)
    return r.ApiKeys([_key_view(item) for item in items], next_token)


def who_is(key: Principal) -> r.WhoAmI:
    return r.WhoAmI(key.label.removeprefix("key "), key.access.name.lower())  # type: ignore[arg-type]


def revoke_token(token_id: str, by: Principal, now: float, segments: int = REVOCATION_SEGMENTS) -> r.RegistrationToken:
    """End a registration token everywhere. Raises TOKEN_NOT_FOUND.

        marked ──► nobody registers with it: each registration checks that in its transaction
        cleared ─► no worker is opened by it: every heartbeat item that names it, the token's Bearer included
        deleted ─► it is unknown

    A revocation that was cut off is resumed by the next: until it is deleted, the token is listed as `revoked`.
    """
    found = _existing("registration", token_id, "TOKEN")
    if not update_if(found, [Credential.revoked.set(True)], Credential.credential_id.exists()):
        found = _existing("registration", token_id, "TOKEN")  # another revocation ended meanwhile
    side_by_side(lambda segment: _clear(bytes(found.digest), segment, segments), range(segments), segments)
    _delete(found, by, now)
    return _token_view(found)


def _clear(digest: bytes, segment: int, segments: int) -> None:
    for heartbeat in scan.joined_with(digest, segment, segments):
        update_if(heartbeat, [WorkerHeartbeat.joined.remove()], WorkerHeartbeat.joined == digest)


def revoke_key(key_id: str, by: Principal, now: float) -> r.ApiKey:
    """It opens nothing any more. Raises KEY_NOT_FOUND, FORBIDDEN."""
    found = find(Credential, key_id)
    if found is None or found.kind not in KEY_KINDS:
        found = _existing("key", key_id, "KEY")
    _may_manage(found.role, by)
    _delete(found, by, now)
    CALLERS_CHANGED.count += 1
    return _key_view(found)


def _existing(kind: str, credential: str, what: str) -> Credential:
    found = find(Credential, credential)
    if not found or found.kind != kind:
        raise ApiError(f"{what}_NOT_FOUND", f"there is no such {what.lower()}; list them to see their ids")
    return found


def _delete(found: Credential, by: Principal, now: float) -> None:
    """Of several that revoke it at once, one is told of."""
    if delete_if(found, Credential.credential_id.exists()):
        _tell(found, "revoked", found.name or f"asked by {by.label}", by, now)


def _tell(item: Credential, what: str, message: str, by: Principal, now: float) -> None:
    """Under the fleet alone: a credential has no timeline of its own."""
    if item.kind in KEY_KINDS:
        events.record(events.About(key_id=item.credential_id), f"key_{what}", message, by.label, now)
    else:
        events.record(events.About(token_id=item.credential_id), f"token_{what}", message, by.label, now)


def _allows(body: r.NewRegistrationToken) -> str:
    kinds = [name for name in ("takeover", "ephemeral") if getattr(body, name)]
    uses = f"{body.max_uses} uses" if body.max_uses > 1 else "1 use"
    return ", ".join([*([body.name] if body.name else []), uses, f"for {body.expires_in} s", *kinds])


def seed_admin_key(secret: str, now: float) -> None:
    """Make `secret` an admin's API key; a second time changes nothing. For the local mode."""
    seed_key(secret, "local admin", "admin", now)


def seed_key(secret: str, name: str, role: str, now: float) -> None:
    """Make `secret` an API key of that role; a second time changes nothing. For the local mode."""
    item = _credential(secret, CALLER if role == CALLER else "key", now)
    item.name, item.role = name, role
    put_if(item, Credential.credential_id.does_not_exist())


def seed_registration_token(secret: str, now: float) -> None:
    """Make `secret` a registration token for any number of workers that does not expire. For the local mode."""
    item = _credential(secret, "registration", now)
    item.name, item.max_uses = "local", SEEDED_USES
    put_if(item, Credential.credential_id.does_not_exist())


def _create(item: Credential, key: idempotency.Key | None, now: float) -> Credential | None:
    """Store it; where this Idempotency-Key made one before, return that instead."""

    def build(transaction: TransactWrite) -> None:
        transaction.save(item, condition=Credential.credential_id.does_not_exist())
        idempotency.remember(transaction, key, item.credential_id, now)

    first = idempotency.run(key, now, lambda: transact(build))
    return find(Credential, first) if first else None


def _credential(secret: str, kind: str, now: float) -> Credential:
    return Credential(credential_id(secret), kind=kind, rank=f"{now:017.6f}", digest=digest(secret), created_at=now)


def _registration(secret: str, body: r.NewRegistrationToken, now: float) -> Credential:
    item = _credential(secret, "registration", now)
    item.name, item.max_uses, item.expires_at = body.name, body.max_uses, now + body.expires_in
    item.takeover, item.ephemeral = body.takeover, body.ephemeral
    return item


def _token_view(item: Credential, secret: str | None = None) -> r.RegistrationToken:
    view = r.RegistrationToken(
        token_id=item.credential_id,
        name=item.name,
        created_at=when(item.created_at),
        expires_at=when(item.expires_at) if item.expires_at else None,
        max_uses=int(item.max_uses or 0),
        uses=int(item.uses),
        takeover=item.takeover,
        ephemeral=item.ephemeral,
        revoked=bool(item.revoked),
    )
    if secret:
        view.token = secret
    return view


def _key_view(item: Credential, secret: str | None = None) -> r.ApiKey:
    view = r.ApiKey(item.credential_id, item.name or "", item.role or "viewer", when(item.created_at))  # type: ignore[arg-type]
    if item.kind == CALLER:
        limits = limits_of(item)
        view.models = limits.models
        for name in ("rpm", "tpm", "tpd"):
            if (limit := getattr(limits, name)) is not None:
                setattr(view, name, limit)
        if item.expires_at:
            view.expires_at = when(item.expires_at)
    if secret:
        view.key = secret
    return view
