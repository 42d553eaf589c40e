"""Whether the user that a model runs as may use its weights: the cache of the hub, or the owner's own folder.

Processes run as the agent's user, so they can be checked before the start. A container's user is set by its image,
mostly root; for containers the log of a crash shows it (agent/causes.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from muster_agent.backends.hub_cache import PREFIX
from muster_agent.backends.policy import is_path
from muster_agent.state.dir import owner, owner_name

CODE = "CACHE_UNUSABLE"
MAX_CHECKED_FILES = 2000
"""Files of a model that are checked at most."""


def unusable(model: str, hub_cache: Path | None) -> str | None:
    """Why this process's user cannot use the weights of `model`, with their owner and what to do; None if it can."""
    if is_path(model):
        found = next(_unreadable(Path(model)), None)
        return _unusable_message(found, "read", Path(model)) if found is not None else None
    if hub_cache is None:
        return None
    folder = hub_cache / f"{PREFIX}{model.replace('/', '--')}"
    if not has_snapshot(folder):  # what is there already need not be written
        nearest = next(path for path in (folder, *folder.absolute().parents) if _exists(path))
        if not os.access(nearest, os.W_OK | os.X_OK):
            return _unusable_message(nearest, "write", nearest)
    if not _exists(folder):
        return None
    if not os.access(folder, os.R_OK | os.X_OK):
        return _unusable_message(folder, "read", folder)
    found = next(_unreadable(folder / "blobs"), None) or next(_unreadable(folder / "snapshots"), None)
    return _unusable_message(found, "read", folder) if found is not None else None


def has_snapshot(folder: Path) -> bool:
    """Whether the cache's folder of a model has a snapshot that can be seen."""
    try:
        return any(folder.glob("snapshots/*/config.json"))
    except PermissionError:
        return False


def _unreadable(path: Path) -> Iterator[Path]:
    """The files and folders of `path` that cannot be read. A link whose target is gone is passed over."""
    if not _exists(path):
        return
    if not os.access(path, os.R_OK | (os.X_OK if os.path.isdir(path) else 0)):
        yield path
        return
    seen = 0
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            entry = Path(folder, name)
            seen += 1
            if seen > MAX_CHECKED_FILES:
                return
            needed = os.R_OK | (os.X_OK if name in folders else 0)
            if os.path.exists(entry) and not os.access(entry, needed):
                yield entry


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # of a folder above, which is then what cannot be read
        return True


def _unusable_message(path: Path, need: str, whole: Path) -> str:
    user = owner_name(os.geteuid())
    if os.access(path, os.F_OK) and os.statvfs(path).f_flag & os.ST_RDONLY and need == "write":
        return f"{path} is on a read-only file system: remount it, or keep weights elsewhere (HF_HOME of the agent)"
    return (
        f"{path} belongs to {owner(path)}, and {user}, as whom the model runs, may not {need} it: run"
        f" `chown -R {user} {whole}` on the host (or `chmod -R u+rwX,g+rwX` with a common group)"
    )
