"""The folder of a gateway: who may read it, who holds it, and what a crash leaves."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from muster.gateway.data_dir import DataDir, DataError, write_privately


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    DataDir(tmp_path / "a" / "b").close()
    assert mode(tmp_path / "a" / "b") == 0o700 and mode(tmp_path / "a" / "b" / "lock") == 0o600


def test_a_second_gateway_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    first = DataDir(tmp_path)
    with pytest.raises(DataError, match=r"another gateway uses .*; give each gateway its own --data"):
        DataDir(tmp_path)
    first.close()
    first.close()
    DataDir(tmp_path).close()


def test_what_is_no_folder_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot use .*/file.*: .*; give a folder that can be written: --data"):
        DataDir(tmp_path / "file")


def test_a_file_is_written_for_its_owner_alone_whatever_was_there(tmp_path: Path) -> None:
    path, other = tmp_path / "routes", tmp_path / "other"
    path.write_text("old")
    path.chmod(0o644)
    other.write_text("not ours")
    (tmp_path / "routes.new").symlink_to(other)
    write_privately(path, b"new")
    assert (path.read_bytes(), mode(path), other.read_text()) == (b"new", 0o600, "not ours")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["other", "routes"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "routes"
    write_privately(path, b"old")
    (tmp_path / "routes.new").mkdir()
    with pytest.raises(OSError):
        write_privately(path, b"new")
    assert path.read_bytes() == b"old"
    os.rmdir(tmp_path / "routes.new")
