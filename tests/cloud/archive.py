"""The functions' archive for the Python of this machine, unpacked."""

from __future__ import annotations

import shutil
from pathlib import Path

import chalice.app

ROOT = Path(__file__).parents[2]
SITE = Path(chalice.app.__file__).parents[1]
REQUIRED = ("msgspec", "pynamodb")


def unpacked(folder: Path) -> Path:
    """What chalice packages: its own runtime, app.py, chalicelib and what requirements.txt names."""
    left_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "chalicelib", folder / "chalicelib", ignore=left_out)
    shutil.copy(ROOT / "app.py", folder)
    (folder / "chalice").mkdir()
    for name in ("__init__.py", "app.py"):
        shutil.copy(SITE / "chalice" / name, folder / "chalice")
    for name in REQUIRED:
        shutil.copytree(SITE / name, folder / name, ignore=left_out)
    return folder
