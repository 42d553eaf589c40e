"""The two pages from which a host installs itself, as the app serves them."""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.contract.errors import ApiError
from chalicelib.routes import install

BYTES = {"accept": install.BINARY}


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
