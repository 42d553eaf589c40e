"""Which worker this state folder is, and which workers it was: what the journal knows across names and control planes.

The name is the one given, else the one that the worker has: a host that is renamed stays the same worker. Instances of
a worker that this folder was (its control plane was wiped, or its owner rejoined under another name) still belong to
this agent. They are shown as orphans, and operators may stop them.
"""

from __future__ import annotations

from contextlib import suppress

from muster_agent.config import SettingError
from muster_agent.state.db import Database, JournalFull
from muster_agent.state.dir import Identity, StateDir, StateError

KEPT_PAST_WORKERS = 16
"""Workers that are remembered, the latest first."""


def prepare(database: Database, state: StateDir, *, name: str | None, hostname: str, token: str | None) -> str:
    """The worker's name, which is journaled. `name` and `token`: those given. Raises SettingError."""
    known = database.meta("name")
    if known is not None and name not in (None, known):
        raise SettingError("--name", f"{state.path} belongs to worker {known!r}; use another --state-dir, or --rejoin")
    if not token and database.meta("token") is None and database.meta("token_before_rejoin") is None:
        raise SettingError("--token", "needed for the first start here (or MUSTER_TOKEN)")
    chosen = name or known or hostname
    with suppress(JournalFull):  # it is compared with the next start's name, and no more
        database.set_meta(name=chosen, named_by="owner" if name else database.meta("named_by"))
    return chosen


def rejoin(database: Database, state: StateDir) -> None:
    """End parking; the next registration decides which worker this is. Raises StateError.

    The worker's own token is kept aside: where it is still good, this is the same worker. A name that was the host's is
    forgotten, since the host may be called otherwise by now.
    """
    state.unpark()
    token = database.meta("token") or database.meta("token_before_rejoin")
    name = database.meta("name") if database.meta("named_by") == "owner" else None
    try:
        database.set_meta(token=None, token_before_rejoin=token, name=name, refused_at=None)
    except JournalFull as error:
        raise StateError(f"--rejoin changes the journal, which cannot be written: {error}") from error


def is_another(database: Database, worker_id: str) -> bool:
    """Whether this is another worker than the journal knows; False for the first."""
    return database.meta("worker_id") not in (None, worker_id)


def become(database: Database, identity: Identity) -> None:
    """Journal a registration. Raises JournalFull."""
    before = database.meta("worker_id")
    past = [
        worker_id for worker_id in (before, *past_workers(database)) if worker_id and worker_id != identity.worker_id
    ]
    database.set_meta(
        urgent=True,  # the token before is retired, so without this one the next start is refused
        worker_id=identity.worker_id,
        token=identity.token,
        token_before_rejoin=None,
        past_workers=" ".join(past[:KEPT_PAST_WORKERS]) or None,
    )


def past_workers(database: Database) -> tuple[str, ...]:
    """The ids of the workers that this folder was, the latest first; never the one that it is."""
    return tuple((database.meta("past_workers") or "").split())
