"""The folder that one agent alone holds."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

import pytest

from muster_agent.state.dir import Identity, StateDir, StateError, owner_name, private_file, refused
from tests.fixtures.small_disk import needs_root, read_only, small_disk


def test_a_folder_is_held_by_one_agent_and_readable_by_its_user_alone(tmp_path: Path) -> None:
    first = StateDir(tmp_path / "state")
    with pytest.raises(StateError, match="another agent"):
        StateDir(tmp_path / "state")
    first.close()
    StateDir(tmp_path / "state").close()
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_parked_is_for_good_until_an_operator_ends_it(tmp_path: Path) -> None:
    first = StateDir(tmp_path / "state")
    assert first.parked is None
    first.park("another host took its place")
    assert first.parked == "another host took its place"
    first.close()
    second = StateDir(tmp_path / "state")
    assert second.parked == "another host took its place"
    second.unpark()
    second.unpark()
    assert second.parked is None
    second.close()


def test_a_marker_that_says_nothing_still_parks(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "state")
    (tmp_path / "state" / "parked").write_text("")
    assert state.parked == "parked"
    state.close()


def test_a_folder_that_was_deleted_or_made_anew_is_noticed(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "state")
    state.check()
    (tmp_path / "state").rename(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="is gone"):
        state.check()
    StateDir(tmp_path / "state").close()
    with pytest.raises(StateError, match="is gone"):
        state.check()
    state.close()


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=f"{tmp_path}/file/state"):
        StateDir(tmp_path / "file" / "state")


def test_a_file_that_others_could_read_is_made_private(tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    loose.write_text("kept")
    loose.chmod(0o666)
    for path in (loose, tmp_path / "fresh"):
        assert stat.S_IMODE(private_file(path).stat().st_mode) == 0o600
    assert loose.read_text() == "kept"


def test_a_worker_token_is_in_no_repr() -> None:
    assert "secret" not in repr(Identity("w1", "secret", 1))


@needs_root
def test_a_folder_on_a_read_only_disk_is_held_all_the_same(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        StateDir(disk / "state").close()
        with read_only(disk):
            first = StateDir(disk / "state")
            first.check()
            with pytest.raises(StateError, match="another agent"):
                StateDir(disk / "state")
            with pytest.raises(OSError):
                first.park("another took its place")
            assert first.parked == "another took its place", "for this process"
            first.close()


@needs_root
def test_a_new_folder_on_a_read_only_disk_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", "1m") as disk,
        read_only(disk),
        pytest.raises(StateError, match="its file system is read-only: remount it, or give another --state-dir"),
    ):
        StateDir(disk / "state")


def test_a_marker_that_cannot_be_read_parks_too(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "state")
    (tmp_path / "state" / "parked").write_bytes(b"garbled \xff")
    assert "garbled" in (state.parked or "")
    (tmp_path / "state" / "parked").unlink()
    (tmp_path / "state" / "parked").mkdir()
    assert "cannot be read" in (state.parked or "")
    with pytest.raises(StateError, match="parked of the state folder"):
        state.unpark()
    state.close()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EROFS, "its file system is read-only"),
        (errno.EACCES, "permission denied to .*, and it belongs to .*: run the agent as that user, or `chown -R"),
        (errno.ENOSPC, "its disk is full"),
        (errno.EISDIR, "is a directory: move it away"),
        (errno.EIO, "check its disk"),
    ],
)
def test_what_keeps_a_file_from_being_used_is_one_sentence_with_what_to_do(
    tmp_path: Path, number: int, said: str
) -> None:
    told = str(refused(tmp_path / "lock", OSError(number, os.strerror(number))))
    assert re.search(said, told) and str(tmp_path / "lock") in told and "\n" not in told


def test_an_owner_without_a_name_is_told_by_number() -> None:
    assert owner_name(0) == "root"
    assert owner_name(4_000_000) == "uid 4000000"
