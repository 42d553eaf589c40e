"""The stand-in's image: this machine's own Python and its library, and nothing that was installed beside them."""

from __future__ import annotations

import io
import json
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import docker
import pytest

from infra import fake_vllm_image
from infra.fake_vllm_image import ENTRYPOINT, PYTHON, STANDIN


@pytest.fixture(scope="module")
def image() -> bytes:
    return fake_vllm_image.root()


@pytest.fixture(scope="module")
def files(image: bytes) -> Iterator[tarfile.TarFile]:
    with tarfile.open(fileobj=io.BytesIO(image)) as tar:
        yield tar


def test_it_has_python_its_library_and_the_stand_in_where_python_looks_for_them(files: tarfile.TarFile) -> None:
    names = set(files.getnames())
    library = str(Path(sysconfig.get_path("stdlib")).resolve()).lstrip("/")
    assert {"fake_vllm.py", PYTHON.lstrip("/"), f"{library}/json/__init__.py", f"{library}/os.py"} <= names
    found = files.extractfile("fake_vllm.py")
    assert found and found.read() == STANDIN.read_bytes()
    assert files.getmember(PYTHON.lstrip("/")).mode & 0o111


def test_it_has_the_libraries_that_python_is_linked_with(files: tarfile.TarFile) -> None:
    assert any("/libc." in f"/{name}" or "/ld-" in f"/{name}" for name in files.getnames())


def test_what_the_stand_in_does_not_need_is_left_out(files: tarfile.TarFile) -> None:
    left = [name for name in files.getnames() if {"site-packages", "__pycache__", "test"} & set(name.split("/"))]
    assert left == []


def test_it_is_imported_under_its_name_and_starts_the_stand_in(image: bytes) -> None:
    imported: list[Any] = []

    def import_image_from_data(data: bytes, repository: str, tag: str, changes: list[str]) -> None:
        imported.append((len(data), repository, tag, changes))

    client = SimpleNamespace(api=SimpleNamespace(import_image_from_data=import_image_from_data))
    fake_vllm_image.build(cast(docker.DockerClient, client), "registry:5000/standin:2")
    assert imported == [(len(image), "registry:5000/standin", "2", [f"ENTRYPOINT {json.dumps(ENTRYPOINT)}"])]
