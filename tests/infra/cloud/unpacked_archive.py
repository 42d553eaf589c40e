"""The functions' archive for the machine that the tests run on, unpacked."""

from __future__ import annotations

import platform
import sys
import tempfile
import zipfile
from pathlib import Path

from infra.cloud.archive import MACHINES, Runtime
from infra.cloud.package import ARCHIVE, build

HERE = Runtime(
    f"python{sys.version_info.major}.{sys.version_info.minor}",
    next(ours for ours, wheels in MACHINES.items() if wheels == platform.machine()),
)


def unpacked(folder: Path) -> Path:
    with tempfile.TemporaryDirectory() as made:
        archive = build("test", Path(made), runtime=HERE) / ARCHIVE
        zipfile.ZipFile(archive).extractall(folder)
    return folder
