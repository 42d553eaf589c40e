"""The folder of wheels for hosts: whole, as the lock says, or an error that says what to do."""

from __future__ import annotations

import shutil
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

from chalicelib.routes import wheels
from infra.wheelhouse import PROJECT, NotFetched, ensure, fill, folder, here, main, missing
from infra.wheelhouse_lock import resolved

LOCK = wheels.lock()


def metadata(path: Path) -> dict[str, list[str]]:
    with zipfile.ZipFile(path) as wheel:
        (name,) = [each for each in wheel.namelist() if each.endswith(".dist-info/METADATA") and each.count("/") == 1]
        read = HeaderParser().parsestr(wheel.read(name).decode())
    return {field: [str(value) for value in read.get_all(field, [])] for field in ("Requires-Dist", "Requires-Python")}


@pytest.fixture
def index(wheelhouse_here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip knows these wheels and no others, without a network."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheelhouse_here))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return wheelhouse_here


def test_the_wheels_of_every_platform_are_those_of_the_lock(wheelhouse: Path) -> None:
    assert missing(wheelhouse, LOCK, LOCK.platforms) == []


@pytest.mark.parametrize("platform", LOCK.platforms)
def test_a_platforms_wheels_run_on_its_python_and_need_nothing_else(wheelhouse: Path, platform: str) -> None:
    found = {canonicalize_name(parse_wheel_filename(each.file)[0]): each for each in LOCK.of(platform)}
    python, _, machine = platform.removeprefix("cp").partition("-")
    version = f"{python[0]}.{python[1:]}"
    read = {name: metadata(wheelhouse / each.file) for name, each in found.items()}
    for name, fields in read.items():
        assert all(f"{version}.1" in SpecifierSet(each) for each in fields["Requires-Python"]), name
    report = [{"metadata": {"name": name, "requires_dist": each["Requires-Dist"]}} for name, each in read.items()]
    needed = resolved(list(found), version, machine, lambda asked, python, machine: report)
    assert len(needed) == len(found)


def test_what_is_missing_or_damaged_is_fetched_and_nothing_else(index: Path, tmp_path: Path) -> None:
    first, second, third = LOCK.of(here())[:3]
    where = tmp_path / "a folder"
    assert fill(where, LOCK, [here()]) == len(LOCK.of(here()))
    (where / first.file).unlink()
    (where / second.file).write_bytes(b"damaged")
    kept = (where / third.file).stat().st_mtime_ns
    assert missing(where, LOCK, [here()]) == sorted([first, second])
    assert fill(where, LOCK, [here()]) == 2
    assert missing(where, LOCK, [here()]) == [] and (where / third.file).stat().st_mtime_ns == kept
    assert {each.name for each in where.iterdir()} == {each.file for each in LOCK.of(here())}
    assert fill(where, LOCK, [here()]) == 0


def test_a_file_with_another_digest_is_refused(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "links").mkdir()
    for each in LOCK.of(here()):
        shutil.copy(index / each.file, tmp_path / "links")
    forged = LOCK.of(here())[0]
    (tmp_path / "links" / forged.file).write_bytes((index / LOCK.of(here())[1].file).read_bytes())
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    with pytest.raises(NotFetched, match="DO NOT MATCH THE HASHES"):
        fill(tmp_path / "new", LOCK, [here()])
    assert not list((tmp_path / "new").glob(forged.file)), "no file before its digest is known"


def test_without_an_index_the_reason_and_what_to_do_are_told(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("MUSTER_WHEELHOUSE", str(tmp_path / "new"))
    done = CliRunner().invoke(main, ["--here"])
    assert done.exit_code == 1
    assert f"pip could not fetch the wheels for {here()}" in done.output and "run the same command again" in done.output


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotFetched, match="MUSTER_WHEELHOUSE names another folder"):
        ensure(tmp_path / "file")


def test_the_command_says_how_much_there_is(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_WHEELHOUSE", str(tmp_path / "new"))
    count = len(LOCK.of(here()))
    assert f"{count} wheels, " in CliRunner().invoke(main, ["--here"]).output
    assert "0 were fetched now" in CliRunner().invoke(main, ["--here"]).output


def test_a_whole_folder_is_used_as_it_is(wheelhouse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_WHEELHOUSE", str(wheelhouse))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert ensure() == wheelhouse


def test_the_folder_is_the_projects_unless_another_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUSTER_WHEELHOUSE", raising=False)
    assert folder() == PROJECT / "build" / "wheelhouse"
