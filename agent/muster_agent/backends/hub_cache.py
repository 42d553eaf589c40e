"""The weights in Hugging Face's cache: `models--org--name/{blobs,snapshots,refs}` for each model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from muster.api.messages import CachedModel, Deleted
from muster_agent.engines.base import EngineError

PREFIX = "models--"


def cached_models(hub_cache: Path) -> list[CachedModel]:
    """What is there, by name, with the bytes of its blobs (a download that broke off included)."""
    return [CachedModel(_model(folder), _size(folder / "blobs")) for folder in _folders(hub_cache)]


def delete_model(hub_cache: Path, model: str) -> Deleted:
    """Remove its weights. Raises EngineError MODEL_NOT_FOUND.

    The folder is one of those that are there, never a path made from `model`.
    """
    folder = next((folder for folder in _folders(hub_cache) if _model(folder) == model), None)
    if folder is None:
        raise EngineError("MODEL_NOT_FOUND", f"no weights of {model} in this worker's cache")
    shutil.rmtree(folder)
    shutil.rmtree(hub_cache / ".locks" / folder.name, ignore_errors=True)
    return Deleted([model])


def _folders(hub_cache: Path) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(hub_cache), key=lambda entry: entry.name)
    except OSError:  # none is there, or somebody else's, which preflight tells of
        return
    for entry in entries:
        # A link would lead out of the cache. Models write here too, so a name may be anything.
        if entry.name.startswith(PREFIX) and entry.name.isprintable() and entry.is_dir(follow_symlinks=False):
            yield Path(entry.path)


def _model(folder: Path) -> str:
    return folder.name.removeprefix(PREFIX).replace("--", "/")


def _size(folder: Path) -> int:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return 0
    return sum(entry.stat(follow_symlinks=False).st_size for entry in entries if entry.is_file(follow_symlinks=False))
