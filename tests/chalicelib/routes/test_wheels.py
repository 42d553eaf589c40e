"""Which wheels a platform needs, and where a control plane has them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from chalicelib.routes import wheels
from chalicelib.routes.wheels import Lock, OwnWheel, Place, Wheel, parsed
from tests.fixtures import ROOT

LOCK = """\
# a comment

any-1-py3-none-any.whl aa 3.10 3.11
old-2-py3-none-any.whl bb 3.10
fast-3-cp310-cp310-manylinux2014_x86_64.manylinux_2_17_x86_64.whl cc 3.10
fast-3-cp311-cp311-manylinux2014_aarch64.whl dd 3.11
"""


@pytest.fixture
def lock() -> Lock:
    return parsed(LOCK.splitlines())


def files(lock: Lock, platform: str) -> list[str]:
    return [wheel.file.partition("-")[0] + wheel.sha256 for wheel in lock.of(platform)]


def test_a_platform_needs_the_files_of_its_python_and_its_processor(lock: Lock) -> None:
    assert files(lock, "cp310-x86_64") == ["anyaa", "oldbb", "fastcc"]
    assert files(lock, "cp310-aarch64") == ["anyaa", "oldbb"]
    assert files(lock, "cp311-aarch64") == ["anyaa", "fastdd"]
    assert files(lock, "cp311-x86_64") == ["anyaa"]


@pytest.mark.parametrize("platform", ["cp39-x86_64", "cp310-riscv64", "", "cp310", "../cp310-x86_64", "cp310-x86_64\n"])
def test_an_unknown_platform_needs_nothing(lock: Lock, platform: str) -> None:
    assert (
        lock.of(platform) == []
        and wheels.requirements(platform, Wheel("own-1-py3-none-any.whl", "ee", frozenset())) is None
    )


def test_what_is_written_is_read_again(lock: Lock) -> None:
    assert sorted(parsed(lock.text().splitlines()).wheels) == sorted(lock.wheels)
    assert lock.platforms == ["cp310-aarch64", "cp310-x86_64", "cp311-aarch64", "cp311-x86_64"]


def test_a_requirement_has_the_version_the_digest_and_the_file() -> None:
    wheel = Wheel("nvidia_ml_py-13.6-py3-none-any.whl", "ab" * 32, frozenset())
    assert wheel.requirement == f"nvidia_ml_py==13.6 --hash=sha256:{'ab' * 32}  # nvidia_ml_py-13.6-py3-none-any.whl"


def test_the_last_requirement_is_the_control_planes_own_wheel(tmp_path: Path) -> None:
    own = tmp_path / "muster_gpu-9.9-py3-none-any.whl"
    own.write_bytes(b"wheel")
    found = wheels.own(tmp_path)
    assert found == OwnWheel(own.name, hashlib.sha256(b"wheel").hexdigest(), frozenset())
    text = wheels.requirements("cp311-x86_64", found)
    assert text is not None and text.splitlines()[-1] == found.requirement


def test_the_own_wheel_is_named_by_a_note_where_it_is_in_a_bucket(tmp_path: Path) -> None:
    assert wheels.own(tmp_path) is None
    (tmp_path / wheels.NOTE).write_text(f"muster_gpu-9.9-py3-none-any.whl {'ab' * 32}\n")
    found = wheels.own(tmp_path)
    assert found is not None and found.file == "muster_gpu-9.9-py3-none-any.whl"
    assert found.key == f"wheels/{'ab' * 32}/{found.file}", "builds of one version differ"


@pytest.mark.parametrize("platform", wheels.lock().platforms)
def test_a_platform_has_one_wheel_of_each_package_and_none_for_a_newer_glibc(platform: str) -> None:
    found = wheels.lock().of(platform)
    names = [wheel.file.partition("-")[0] for wheel in found]
    assert len(set(names)) == len(names) and {"docker", "msgspec", "psutil", "requests"} <= set(names)
    for wheel in found:
        minors = [int(minor) for minor in re.findall(r"manylinux_2_(\d+)_", wheel.file)]
        assert "-any.whl" in wheel.file or "manylinux2014" in wheel.file or min(minors) <= wheels.GLIBC


def test_every_platform_has_the_packages_of_the_newest_python() -> None:
    lock = wheels.lock()
    names = {platform: {wheel.file.partition("-")[0] for wheel in lock.of(platform)} for platform in lock.platforms}
    assert len(lock.platforms) == 10
    assert all(each >= names["cp314-x86_64"] for each in names.values()), "older ones may need more"


def test_the_script_for_hosts_names_the_platforms_of_the_lock() -> None:
    script = (ROOT / "chalicelib" / "static" / "join.sh").read_text()
    assert f"PYTHONS='{' '.join(wheels.lock().pythons)}'\n" in script
    assert f"MACHINES='{' '.join(reversed(wheels.MACHINES))}'\n" in script
    assert f"GLIBC={wheels.GLIBC} " in script
    assert wheels.supported() == "CPython 3.10 to 3.14 on x86_64 and aarch64 with glibc 2.28 or newer"


def test_a_folder_has_the_files_that_were_put_there(tmp_path: Path) -> None:
    (tmp_path / "a-1.whl").write_bytes(b"here")
    place = Place(folder=tmp_path)
    assert place.read(Wheel("a-1.whl", "", frozenset())) == b"here"
    assert place.read(Wheel("b-1.whl", "", frozenset())) is None
    assert Place().read(Wheel("a-1.whl", "", frozenset())) is None


def test_a_bucket_is_asked_by_a_url_that_ends_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MUSTER_WHEEL_BUCKET": "muster-artefacts-1-eu-central-1",
        "AWS_ACCESS_KEY_ID": "AKIAMADEUP",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    wheels._s3.cache_clear()
    try:
        url = urlsplit(Place.of_this_process().url(Wheel("a-1.whl", "", frozenset())))
    finally:
        wheels._s3.cache_clear()
    assert (url.scheme, url.netloc) == ("https", "muster-artefacts-1-eu-central-1.s3.eu-central-1.amazonaws.com")
    assert url.path == "/wheels/a-1.whl" and parse_qs(url.query)["X-Amz-Expires"] == ["300"]
    assert "secret" not in url.query
