from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
