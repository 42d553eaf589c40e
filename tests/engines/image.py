"""An image from nothing but this host: its shell, a few of its tools, and the libraries that they need. 3 MB."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import docker

from tests.engines.puppets import SCRIPT

TOOLS = ("sh", "sleep", "cat", "mv")
REFERENCE = "muster-test/puppet:1"
ENTRYPOINT = 'ENTRYPOINT ["/bin/sh", "/puppet.sh"]'


def build(client: docker.DockerClient, reference: str = REFERENCE, entrypoint: str = ENTRYPOINT) -> None:
    client.api.import_image_from_data(_root(), *_split(reference), changes=[entrypoint])


def _split(reference: str) -> tuple[str, str]:
    repository, _, tag = reference.rpartition(":")
    return repository, tag


def _root() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as tar:
        tar.add(SCRIPT, "puppet.sh")
        libraries: set[str] = set()
        for tool in TOOLS:
            path = shutil.which(tool)
            assert path is not None, f"this host has no {tool}"
            tar.add(path, f"bin/{tool}")
            libraries |= _libraries(path)
        for library in sorted(libraries):
            tar.add(library, library.lstrip("/"))
    return buffer.getvalue()


def _libraries(program: str) -> set[str]:
    """What `ldd` names; a static program needs none."""
    listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return {path for path in re.findall(r"(/\S+) \(0x", listing) if Path(path).exists()}
