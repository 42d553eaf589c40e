"""A Docker image of the stand-in, made in a second from this machine's own Python."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import docker

REFERENCE = "muster-standin:1"
STANDIN = Path(__file__).with_name("fake_vllm.py")
LEFT_OUT = re.compile(
    r"/(site-packages|dist-packages|test|idlelib|tkinter|lib2to3|ensurepip|config-[^/]*|__pycache__)$"
)


PYTHON = str(Path(sys.executable).resolve())
ENTRYPOINT = [PYTHON, "-I", "/fake_vllm.py"]


def build(client: docker.DockerClient, reference: str = REFERENCE) -> None:
    repository, _, tag = reference.rpartition(":")
    client.api.import_image_from_data(root(), repository, tag, changes=[f"ENTRYPOINT {json.dumps(ENTRYPOINT)}"])


def root(python: str = PYTHON) -> bytes:
    """Its files, as a tar: at the same paths as here, so that the interpreter finds its library."""
    library = Path(sysconfig.get_path("stdlib")).resolve()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as tar:
        tar.add(STANDIN, "fake_vllm.py")
        tar.add(python, python.lstrip("/"))
        tar.add(library, str(library).lstrip("/"), filter=_kept)
        for file in _shared([python, *map(str, library.glob("lib-dynload/*.so"))]):
            tar.add(file, file.lstrip("/"))
    return buffer.getvalue()


def _kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if LEFT_OUT.search(f"/{entry.name}") else entry


def _shared(programs: list[str]) -> list[str]:
    """The libraries that `ldd` names."""
    listing = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    return sorted({path for path in re.findall(r"(/\S+) \(0x", listing) if Path(path).exists()})
