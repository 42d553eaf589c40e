from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.broken_servers import answering, success
from tests.fixtures.certificates import Authority, authority
from tests.fixtures.database import Recorder
from tests.fixtures.fake_litellm import FakeLiteLLM
from tests.fixtures.http_server import serving
from tests.fixtures.operators import Operators


@pytest.fixture
def operators(database: Recorder, tmp_path: Path) -> Operators:
    """A control plane that one worker, gpu-1, has joined."""
    return Operators(tmp_path).join()


@pytest.fixture
def proxy() -> Iterator[FakeLiteLLM]:
    fake = FakeLiteLLM()
    with serving(fake.server):
        yield fake


@pytest.fixture
def own(tmp_path: Path) -> Authority:
    return authority(tmp_path)


@pytest.fixture
def other(tmp_path: Path) -> Authority:
    (tmp_path / "other").mkdir()
    return authority(tmp_path / "other")


@pytest.fixture
def secure(own: Authority) -> Iterator[str]:
    """The URL of a server that answers `{}`, with a certificate of `own`."""
    with answering(success(b"{}"), tls=own.server()) as port:
        yield f"https://127.0.0.1:{port}"
