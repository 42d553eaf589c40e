"""Each process of the agent has a boot id, and tells those of the processes before it, which have ended.

A registration may still be on its way when its process is killed, and arrive after its successor's. Since the successor
named it, the control plane then knows that it is nobody's, and does not take it for a newer agent that this one has to
make way for.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from muster_agent.state.db import Database, JournalFull
from muster_agent.state.db_file import IDENTITY
from muster_agent.state.dir import private_file

KEPT_BOOT_IDS = 8


def next_boot(database: Database) -> tuple[str, list[str]]:
    """Returns a new boot id and the earlier ones, the latest first. The caller must hold the state folder's lock.

    The ids are kept beside the journal too: if the journal is lost, they prove that this is the same worker, also while
    the control plane takes it to be online.
    """
    beside = database.path.with_name("boots")
    past = (database.meta("boots") or _read(beside)).split()[:KEPT_BOOT_IDS]
    fresh = uuid4().hex
    known = " ".join([fresh, *past])
    with suppress(JournalFull):  # an agent starts on a full disk too; the next one then does not know of it
        database.set_meta(urgent=True, boots=known)
    with suppress(OSError):
        new = private_file(beside.with_name("boots.new"))
        new.write_text(known, encoding="ascii")
        new.rename(beside)
    return fresh, past


def _read(path: Path) -> str:
    """The ids in the file; "" if there is none, or if it is damaged."""
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
    return text if IDENTITY["boots"].fullmatch(text) else ""
