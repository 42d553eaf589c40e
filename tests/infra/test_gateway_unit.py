"""The gateway's systemd unit, read by systemd itself."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

from muster.cli.gateway_serve import serve as command
from muster.gateway.gateway_process import DRAIN_SECONDS
from tests.fixtures import ROOT
from tests.fixtures.docker_engine import unavailable

UNIT = (ROOT / "infra" / "gateway" / "muster-gateway.service").read_text()
INSTALLED = "/opt/muster-gateway/bin/muster"


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze") or unavailable(
        "there is no systemd-analyze here: apt-get install systemd"
    )
    assert INSTALLED in UNIT
    unit = tmp_path / "muster-gateway.service"
    unit.write_text(UNIT.replace(INSTALLED, str(Path(sys.executable).parent / "muster")))
    done = subprocess.run([program, "--man=no", "verify", str(unit)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_runs_the_command_as_a_user_of_its_own_who_can_write_to_one_folder() -> None:
    read = configparser.ConfigParser(strict=False, interpolation=None)
    read.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names have capitals
    read.read_string(UNIT)
    service = read["Service"]
    assert service["ExecStart"] == f"{INSTALLED} gateway serve"
    assert service["Environment"] == f"MUSTER_GATEWAY_DATA=/var/lib/{service['StateDirectory']}"
    assert (service["DynamicUser"], service["ProtectSystem"], service["NoNewPrivileges"]) == ("yes", "strict", "yes")
    assert "User" not in service and "ReadWritePaths" not in service


def test_its_variables_are_options_of_the_command() -> None:
    variables = set(re.findall(r"MUSTER_GATEWAY_[A-Z_]+", UNIT + (ROOT / "docs" / "gateway.md").read_text()))
    known = {str(each.envvar) for each in command.params if hasattr(each, "envvar")}
    assert variables and variables <= known


def test_running_requests_have_their_time_when_it_stops() -> None:
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.M)
    assert int(stop) > DRAIN_SECONDS
