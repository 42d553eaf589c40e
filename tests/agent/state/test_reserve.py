"""The file that keeps disk space back."""

from __future__ import annotations

from pathlib import Path

from muster_agent.state.reserve import ReserveFile


def test_the_reserve_takes_its_blocks_on_the_disk_and_is_given_up_once(tmp_path: Path) -> None:
    reserve = ReserveFile(tmp_path / "reserve", 8192)
    reserve.restore()
    assert (tmp_path / "reserve").stat().st_size == 8192
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 8192
    assert reserve.give_up()
    assert not reserve.give_up()


def test_a_reserve_that_was_given_up_is_taken_again(tmp_path: Path) -> None:
    reserve = ReserveFile(tmp_path / "reserve", 8192)
    reserve.restore()
    reserve.give_up()
    reserve.restore()
    assert (tmp_path / "reserve").stat().st_size == 8192
    assert reserve.give_up()
    assert not (tmp_path / "reserve").exists()


def test_where_there_is_no_room_nothing_is_taken_and_nothing_raised(tmp_path: Path) -> None:
    reserve = ReserveFile(tmp_path / "reserve", 2**62)
    reserve.restore()
    assert not (tmp_path / "reserve").exists()
    assert not reserve.give_up()


def test_a_reserve_that_is_something_else_is_none_and_nothing_is_raised(tmp_path: Path) -> None:
    (tmp_path / "reserve").mkdir()
    reserve = ReserveFile(tmp_path / "reserve", 8192)
    reserve.restore()
    assert not reserve.give_up()
