"""The folder that one agent alone holds."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from agent.identity import Identity, StateDir, StateError, private_file


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
