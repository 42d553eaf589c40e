"""A process becomes a control plane before the app is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.fixtures import ROOT


def test_another_database_leaves_botocore_alone(tmp_path: Path) -> None:
    program = (
        "from botocore.handlers import BUILTIN_HANDLERS as before; count = len(before)\n"
        "from infra.local.prepare import prepare\n"
        "assert prepare().engine is None and len(before) == count\n"
    )
    elsewhere = {"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:1", "MUSTER_DATA": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=os.environ | elsewhere, check=True)
    assert not (tmp_path / "muster.sqlite3").exists()
