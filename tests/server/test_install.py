"""The two pages from which a host installs itself, as the app serves them."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import msgspec
import pytest

from chalicelib.contract.errors import ApiError
from chalicelib.routes import install

BYTES = {"accept": install.BINARY}
ROOT = install.STATIC.parents[1]
LOCK = Path(tempfile.gettempdir()) / f"muster-wheel-{hashlib.sha256(bytes(ROOT)).hexdigest()[:8]}.lock"
"""Of this tree. A second one beside it is shared by those who need the wheel, and names the one that tests made."""


@pytest.fixture(scope="module")
def wheel_served() -> Iterator[Path]:
    """The one that is served: the developer's own, or one for as long as the tests of any process need it."""
    with LOCK.with_suffix(".users").open("a+") as users:
        with alone():
            _remove_ours(users)  # of tests that were killed
            fcntl.flock(users, fcntl.LOCK_SH)
            made = next(install.STATIC.glob("muster-*.whl"), None)
            if made is None:
                _build(install.STATIC)
                (made,) = install.STATIC.glob("muster-*.whl")
                users.write(made.name)
                users.flush()
        yield made
        with alone():
            _remove_ours(users)


def _remove_ours(users: TextIO) -> None:
    """The wheel that tests made, unless others need it still."""
    with suppress(BlockingIOError):
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        users.seek(0)
        if name := users.read():
            (install.STATIC / name).unlink(missing_ok=True)
            users.truncate(0)


def build(folder: Path) -> None:
    with alone():
        _build(folder)


@contextmanager
def alone() -> Iterator[None]:
    """One process at a time: building leaves its traces in the tree."""
    with LOCK.open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def _build(folder: Path) -> None:
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True)


def get(path: str, headers: dict[str, str] | None = None) -> Any:
    from chalice.config import Config
    from chalice.local import LocalGateway

    import app

    return LocalGateway(app.app, Config()).handle_request("GET", path, headers or {}, None)


def test_the_script_is_served_to_anyone_as_it_is() -> None:
    answer = get("/join.sh", {"host": "evil.example$(reboot)"})
    assert answer["statusCode"] == 200
    assert answer["body"] == (install.STATIC / "join.sh").read_text()
    assert answer["headers"]["Content-Type"].startswith("text/plain")


def test_the_wheel_has_a_name_that_pip_takes_and_holds_nothing_of_the_control_plane(wheel_served: Path) -> None:
    answer = get("/muster.whl", BYTES)
    assert answer["statusCode"] == 200
    assert answer["headers"]["Content-Disposition"] == f'attachment; filename="{wheel_served.name}"'
    body = answer["body"]
    names = zipfile.ZipFile(io.BytesIO(body if isinstance(body, bytes) else base64.b64decode(body))).namelist()
    assert {"agent/__main__.py", "muster/client.py", "chalicelib/contract/messages.py"} <= set(names)
    assert {name.partition("/")[0] for name in names} == {"agent", "chalicelib", "muster", "muster-0.1.0.dist-info"}
    inside = {name.split("/")[1] for name in names if name.startswith("chalicelib/")}
    assert inside == {"__init__.py", "py.typed", "contract"}


def test_bytes_go_only_to_those_who_ask_for_bytes() -> None:
    answer = get("/muster.whl", {"accept": "*/*"})
    assert answer["statusCode"] == 400
    assert "application/octet-stream" in msgspec.json.decode(answer["body"])["message"]


def test_a_control_plane_without_its_wheel_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="make wheel"):
        install.wheel_in(tmp_path)
