"""The pages from which a host installs itself, as the app serves them."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.routes import install, wheels
from infra.wheelhouse import here
from muster.api.errors import ApiError
from muster.api.version import VERSION

BYTES = {"accept": install.BINARY}


def get(path: str, headers: dict[str, str] | None = None) -> Any:
    from chalice.config import Config
    from chalice.local import LocalGateway

    import app

    return LocalGateway(app.app, Config()).handle_request("GET", path, headers or {}, None)


def content(answer: Any) -> bytes:
    body = answer["body"]
    return body if isinstance(body, bytes) else base64.b64decode(body)


def refusal(path: str) -> str:
    answer = get(path, BYTES)
    found = msgspec.json.decode(answer["body"])
    assert (answer["statusCode"], found["error_code"]) == (404, "ROUTE_NOT_FOUND")
    return str(found["message"])


def test_the_script_is_served_to_anyone_as_it_is() -> None:
    answer = get("/join.sh", {"host": "evil.example$(reboot)"})
    assert answer["statusCode"] == 200
    assert answer["body"] == (install.STATIC / "join.sh").read_text()
    assert answer["headers"]["Content-Type"].startswith("text/plain")


def test_the_wheel_has_a_name_that_pip_takes_and_holds_nothing_of_the_control_plane(wheel_served: Path) -> None:
    answer = get("/muster.whl", BYTES)
    assert answer["statusCode"] == 200
    assert answer["headers"]["Content-Disposition"] == f'attachment; filename="{wheel_served.name}"'
    names = zipfile.ZipFile(io.BytesIO(content(answer))).namelist()
    assert {"muster_agent/__main__.py", "muster/client.py", "muster/api/messages.py"} <= set(names)
    assert {name.partition("/")[0] for name in names} == {"muster", "muster_agent", f"muster_gpu-{VERSION}.dist-info"}


def test_bytes_go_only_to_those_who_ask_for_bytes() -> None:
    answer = get("/muster.whl", {"accept": "*/*"})
    assert answer["statusCode"] == 400
    assert "application/octet-stream" in msgspec.json.decode(answer["body"])["message"]


def test_a_control_plane_without_its_wheel_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="make wheel"):
        install.own_wheel(tmp_path)


@pytest.mark.parametrize("platform", wheels.lock().platforms)
def test_a_platforms_list_has_a_digest_for_each_file_and_the_own_wheel_last(wheel_served: Path, platform: str) -> None:
    answer = get(f"/wheels/requirements-{platform}.txt", BYTES)
    assert answer["statusCode"] == 200 and answer["headers"]["Content-Type"].startswith("text/plain")
    lines = [line for line in answer["body"].splitlines() if not line.startswith("#")]
    assert [line.rpartition("  # ")[2] for line in lines] == [
        *(each.file for each in wheels.lock().of(platform)),
        wheel_served.name,
    ]
    assert all(" --hash=sha256:" in line for line in lines)
    assert hashlib.sha256(wheel_served.read_bytes()).hexdigest() in lines[-1]


def test_every_file_of_a_list_is_served_with_the_lists_digest(
    wheel_served: Path, wheelhouse_here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSTER_WHEELHOUSE", str(wheelhouse_here))
    lines = get(f"/wheels/requirements-{here()}.txt")["body"].splitlines()[1:]
    for line in lines:
        digest, _, file = line.partition("sha256:")[2].partition("  # ")
        answer = get(f"/wheels/{file}", BYTES)
        assert answer["statusCode"] == 200, file
        assert answer["headers"]["Content-Disposition"] == f'attachment; filename="{file}"'
        assert hashlib.sha256(content(answer)).hexdigest() == digest
        assert get(f"/wheels/{file}", {"accept": "*/*"})["statusCode"] == 400


def test_a_control_plane_without_a_wheelhouse_has_the_lists_and_says_what_to_do_about_the_files(
    wheel_served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("", str(tmp_path), str(tmp_path / "nowhere")):
        monkeypatch.setenv("MUSTER_WHEELHOUSE", folder)
        assert get(f"/wheels/requirements-{here()}.txt")["statusCode"] == 200
        assert "make wheelhouse" in refusal(f"/wheels/{wheels.lock().of(here())[0].file}")


@pytest.mark.parametrize(
    "platform", ["cp39-x86_64", "cp315-x86_64", "cp311-riscv64", "cp311", "", "musl", "..%2Fcp311-x86_64"]
)
def test_an_unsupported_platform_is_told_the_supported_ones(wheel_served: Path, platform: str) -> None:
    assert "CPython 3.10 to 3.14 on x86_64 and aarch64" in refusal(f"/wheels/requirements-{platform}.txt")


@pytest.mark.parametrize(
    "name",
    [
        "..%2fjoin.sh",
        "..%2F..%2Fapp.py",
        "%2e%2e%2fjoin.sh",
        "%2Fetc%2Fpasswd",
        "..",
        "%00",
        "join.sh",
        "wheels.lock",
        "x" * 4000,
        "unknown-1-py3-none-any.whl",
        "certifi-%2A-py3-none-any.whl",
        "SECRET.whl",
        "a%0d%0aLocation:%20x",
    ],
)
def test_a_name_that_no_list_has_is_refused_wherever_it_leads(
    wheel_served: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "SECRET.whl").write_text("secret")
    monkeypatch.setenv("MUSTER_WHEELHOUSE", str(tmp_path))
    assert "no host needs a file of that name" in refusal(f"/wheels/{name}")
    monkeypatch.setenv("MUSTER_WHEEL_BUCKET", "bucket")
    assert "no host needs a file of that name" in refusal(f"/wheels/{name}"), "nor is a URL made for it"


AWKWARD = """/models of/a b/it's $HOME `id` "100%" \\n"""


def written(folder: Path, *arguments: str, **environment: str) -> tuple[dict[str, str], str]:
    """The settings that join.sh writes, as sh reads them, and the unit. Nothing outside of `folder` is touched."""
    script = (install.STATIC / "join.sh").read_text().removesuffix('main "$@"\n')
    places = "\n".join(
        [f"SETTINGS='{folder}/agent.env'", f"UNIT='{folder}/unit'", f"TRUST='{folder}/trust'", "mkdir() { :; }"]
    )
    steps = 'arguments "$@"\nsettings\nwrite_settings\nwrite_unit\n'
    own = {"PATH": os.environ["PATH"], **environment}
    ran = subprocess.run(
        ["sh", "-c", f"{script}\n{places}\n{steps}", "join.sh", *arguments],
        env=own,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    read = 'set -a; . "$0"; env -0'
    found = subprocess.run(
        ["sh", "-c", read, f"{folder}/agent.env"], env={"PATH": own["PATH"]}, capture_output=True, text=True, check=True
    )
    lines = (line.partition("=") for line in found.stdout.split("\0") if line)
    settings = {name: value for name, _, value in lines if name not in ("PATH", "PWD", "_", "SHLVL", "OLDPWD")}
    return settings, (folder / "unit").read_text()


def test_every_path_and_setting_is_kept_as_it_was_given_also_by_a_second_run(tmp_path: Path) -> None:
    given = [
        "--url",
        "https://muster.example/",
        "--models",
        AWKWARD,
        "--vllm-command",
        'it\'s "$x" \\ `y`',
        "--name=a 'b'",
    ]
    settings, unit = written(tmp_path, *given, MUSTER_TOKEN="mst_reg_x")
    assert settings == {
        "MUSTER_URL": "https://muster.example",
        "MUSTER_TOKEN": "mst_reg_x",
        "MUSTER_VLLM_COMMAND": 'it\'s "$x" \\ `y`',
        "MUSTER_NAME": "a 'b'",
        "HF_HOME": AWKWARD,
    }
    quoted = AWKWARD.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    assert f'ReadWritePaths="{quoted}"\n' in unit
    assert written(tmp_path) == (settings, unit)
    assert (tmp_path / "agent.env").stat().st_mode & 0o777 == 0o600


def test_a_setting_that_somebody_wrote_by_hand_is_read_however_it_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "agent.env").write_text('MUSTER_URL=https://by.hand\nHF_HOME="/models of/a b"\n')
    settings, unit = written(tmp_path)
    assert (settings["MUSTER_URL"], settings["HF_HOME"]) == ("https://by.hand", "/models of/a b")
    assert 'ReadWritePaths="/models of/a b"\n' in unit


def test_proxies_and_authorities_of_the_shell_go_with_the_service(tmp_path: Path) -> None:
    proxies = {
        "https_proxy": "http://me:it's@proxy:3128",
        "HTTP_PROXY": "http://proxy:3128",
        "no_proxy": "localhost,.example",
    }
    (tmp_path / "own.pem").write_text("x")
    (tmp_path / "trust").write_text("x")
    url = ("--url", "https://muster.example")
    settings, _ = written(tmp_path, *url)
    assert settings["REQUESTS_CA_BUNDLE"] == f"{tmp_path}/trust"
    settings, _ = written(tmp_path, *url, SSL_CERT_FILE="own.pem", **proxies)
    assert proxies.items() <= settings.items()
    own = f"{tmp_path}/own.pem"
    assert (settings["SSL_CERT_FILE"], settings["REQUESTS_CA_BUNDLE"]) == (own, own)
    assert written(tmp_path)[0] == settings, "a run without them keeps them"


def test_an_authority_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"SSL_CERT_FILE: there is no /nowhere"):
        written(tmp_path, "--url", "https://muster.example", SSL_CERT_FILE="/nowhere")


def checked(folder: Path, python: str, home: str = "") -> tuple[int, str]:
    """What join.sh says of a Python. `home`: of an earlier run's virtual environment."""
    script = (install.STATIC / "join.sh").read_text().removesuffix('main "$@"\n')
    steps = 'arguments "$@"\ncheck_python\nprintf "%s" "$VERSION $MACHINE $PYTHON"'
    ran = subprocess.run(
        ["sh", "-c", f"{script}\nHOME_DIR='{home or folder / 'none'}'\n{steps}", "join.sh", *python.split("|")],
        env={"PATH": os.environ["PATH"]},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


def pretending(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("linux CPython 3.9 64 gil x86_64 2.31", "needs CPython 3.10 to 3.14, and {} is 3.9: install one of these"),
        ("linux CPython 3.15 64 gil x86_64 2.41", "is 3.15: install one of these"),
        ("linux CPython 2.7 64 gil x86_64 2.31", "is 2.7: install one of these"),
        ("linux PyPy 3.11 64 gil x86_64 2.36", "is PyPy: install one of these"),
        ("linux CPython 3.13 64 free x86_64 2.36", "is a free-threaded build of 3.13: install one of these"),
        ("linux CPython 3.12 64 gil x86_64 none", "musl, as on Alpine): run the agent as a container (make image)"),
        (
            "linux CPython 3.12 64 gil x86_64 2.17",
            "needs glibc 2.28 or newer, and this host has 2.17: run the agent as",
        ),
        ("linux CPython 3.12 64 gil ppc64le 2.36", "x86_64 or aarch64, and this host has ppc64le: use another host"),
        ("linux CPython 3.12 32 gil x86_64 2.36", "needs a 64-bit Python, and {} is a 32-bit one: name another one"),
        (
            "darwin CPython 3.12 64 gil arm64 none",
            "the agent runs on Linux, and this host has darwin: use a Linux host",
        ),
    ],
)
def test_an_unsupported_platform_is_named_in_one_sentence(tmp_path: Path, says: str, told: str) -> None:
    python = pretending(tmp_path / "a folder" / "python", says)
    code, said = checked(tmp_path, f"--url|x|--python|{python}")
    assert code == 1 and said.count("\n") == 1, said
    assert told.format(python) in said


@pytest.mark.parametrize("python", wheels.lock().pythons)
@pytest.mark.parametrize("machine", wheels.MACHINES)
def test_a_supported_platform_goes_on(tmp_path: Path, python: str, machine: str) -> None:
    fake = pretending(tmp_path / "python", f"linux CPython {python} 64 gil {machine} 2.28")
    assert checked(tmp_path, f"--url=x|--python={fake}") == (0, f"{python} {machine} {fake}")


def test_this_python_is_asked_for_its_platform(tmp_path: Path) -> None:
    code, said = checked(tmp_path, f"--url|x|--python|{sys.executable}")
    python, machine, _ = said.split(" ", 2)
    assert code == 0 and wheels.platform(python, machine) == here()


def test_the_python_of_an_earlier_run_is_kept_unless_another_is_named_or_it_does_not_work(tmp_path: Path) -> None:
    own = pretending(tmp_path / "home" / "bin" / "python", "linux CPython 3.12 64 gil x86_64 2.36")
    other = pretending(tmp_path / "other", "linux CPython 3.14 64 gil x86_64 2.36")
    assert checked(tmp_path, "--url|x", str(tmp_path / "home"))[1].split() == ["3.12", "x86_64", str(own)]
    assert checked(tmp_path, f"--python|{other}", str(tmp_path / "home"))[1].split()[2] == str(other)
    own.write_text("#!/bin/sh\nexit 1\n")
    assert checked(tmp_path, "--url|x", str(tmp_path / "home"))[1].endswith(" python3")


def test_a_python_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    code, said = checked(tmp_path, "--python|/no such/python")
    assert code == 1 and "there is no /no such/python" in said
    broken = pretending(tmp_path / "python", "x; exit 1")
    code, said = checked(tmp_path, f"--python|{broken}")
    assert code == 1 and f"{broken} does not run: name another one" in said
    assert checked(tmp_path, "--python")[1].endswith("--python needs a value\n")
