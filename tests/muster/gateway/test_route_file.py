"""The routes on disk: what is read again, what is ignored, and what is in nobody else's hands."""

from __future__ import annotations

import logging
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from muster.api.gateways import Caller, Replica, Routes
from muster.gateway.config import GatewayConfig
from muster.gateway.route_file import MAX_FILE_BYTES, VERSION, RouteFile

CONFIG = GatewayConfig("https://models.example", "https://muster.example", "mst_key_secret", Path("/nowhere"))
ROUTES = Routes([Replica("d", "qwen", "w", "gpu-1", endpoint="http://10.0.0.1:1/v1", key="k")], [], [], 2)
KEYS = {1: b"a" * 32, 2: b"\xff" * 32}


@pytest.fixture
def file(tmp_path: Path) -> RouteFile:
    return RouteFile(tmp_path / "routes.json", CONFIG)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "routes.json"


def test_what_was_written_is_read(file: RouteFile, path: Path) -> None:
    assert file.read() is None
    file.write(100.5, ROUTES, KEYS)
    kept = file.read()
    assert kept is not None
    assert (kept.contact, kept.routes, kept.ticket_keys) == (100.5, ROUTES, KEYS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and b"mst_key_secret" not in path.read_bytes()


@pytest.mark.parametrize(
    "other",
    [
        {"key": "mst_key_other"},
        {"control_plane": "https://other.example"},
        {"url": "https://other.example"},
        {"selector": {"site": "lab"}},
    ],
)
def test_another_gateways_file_is_ignored(
    file: RouteFile, path: Path, other: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    file.write(100, ROUTES, KEYS)
    assert RouteFile(path, replace(CONFIG, **other)).read() is None
    assert "it is of another control plane, key, URL, or selector" in caplog.text


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[]", b'{"version": 1}', b"\xff\xfe", b"[" * 100_000, b'{"version": "x"}']
)
def test_a_damaged_file_is_ignored_with_a_line(
    file: RouteFile, path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(content)
    assert file.read() is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert f"{path} is ignored: it cannot be read" in caplog.text
    file.write(100, ROUTES, KEYS)
    assert file.read() is not None


def test_a_file_of_another_format_is_ignored(file: RouteFile, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write(100, ROUTES, KEYS)
    content = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode({**content, "version": VERSION + 1}))
    assert file.read() is None and f"its format is {VERSION + 1}" in caplog.text


def test_a_file_that_is_too_large_is_not_read(file: RouteFile, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with path.open("wb") as large:
        large.truncate(MAX_FILE_BYTES + 1)
    assert file.read() is None and "more than" in caplog.text


def test_what_was_removed_stays_removed(file: RouteFile, path: Path) -> None:
    file.remove()
    file.write(100, ROUTES, KEYS)
    file.remove()
    assert not path.exists()


def test_a_disk_that_cannot_be_written_is_a_line_in_the_log(
    file: RouteFile, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.with_name("routes.json.new").mkdir()
    file.write(100, ROUTES, KEYS)
    assert "the routes cannot be kept in" in caplog.text and not path.exists()
    path.with_name("routes.json.new").rmdir()


def test_callers_are_kept_with_their_limits(file: RouteFile) -> None:
    routes = Routes([], [], [Caller("k", "d" * 64, "app", ["qwen"], rpm=60, expires_at=99.5)], 2)
    file.write(100, routes, {})
    kept = file.read()
    assert kept is not None and kept.routes == routes
