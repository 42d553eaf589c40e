"""Which servers are measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.figure import QUICK
from bench.peers import Bench, floor
from bench.servers import LmStack, Muster, NotMeasured


def test_without_a_checkout_lmstack_is_not_measured(tmp_path: Path) -> None:
    makers = Bench(tmp_path, QUICK).servers()
    assert list(makers) == ["Muster", "FastAPI", "LMStack", "LMStack, 1 process"]
    with pytest.raises(NotMeasured, match="LMSTACK names no checkout"):
        makers["LMStack"](tmp_path)


def test_lmstack_runs_in_an_environment_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "lmstack-venv").mkdir()
    (tmp_path / "lmstack-venv" / "ready").touch()
    server = Bench(tmp_path, QUICK, lmstack=tmp_path / "checkout").servers()["LMStack"](tmp_path)
    assert isinstance(server, LmStack) and server.command()[0] == str(tmp_path / "lmstack-venv" / "bin" / "python")
    assert server.command()[-2:] == ["--workers", "4"]


def test_another_commit_takes_the_place_of_the_peers(tmp_path: Path) -> None:
    bench = Bench(tmp_path, QUICK, reference=tmp_path / "checkout", reference_name="abc123")
    assert list(bench.servers()) == ["Muster", "abc123"]
    server = bench.servers()["abc123"](tmp_path)
    assert isinstance(server, Muster) and server.working_directory() == tmp_path / "checkout"
    assert server.environment()["PYTHONPATH"].startswith(str(tmp_path / "checkout"))


def test_a_fresh_folder_is_empty(tmp_path: Path) -> None:
    bench = Bench(tmp_path, QUICK)
    (bench.fresh("data") / "left").touch()
    assert list(bench.fresh("data").iterdir()) == []


def test_the_floor_is_the_bare_responder(tmp_path: Path) -> None:
    assert floor(tmp_path).name == "bare HTTP"
