"""The sessions of `muster` trust the authorities of the environment, and repeat."""

from __future__ import annotations

from pathlib import Path

import pytest
from requests.adapters import HTTPAdapter

from muster.api.connection import CA_VARIABLES
from muster.sessions import new_session
from muster.transport import RETRIES
from tests.fixtures.broken_servers import answering, success
from tests.fixtures.certificates import authority

HEALTHY = success(b"{}")


@pytest.mark.parametrize("name", CA_VARIABLES)
def test_each_variable_is_trusted_beside_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for each in CA_VARIABLES:
        monkeypatch.delenv(each, raising=False)
    (tmp_path / "other").mkdir()
    own, other = authority(tmp_path), authority(tmp_path / "other")
    environ = dict.fromkeys(CA_VARIABLES, other.file) | {name: own.file}
    with answering(HEALTHY, tls=own.server()) as port, new_session(environ, RETRIES) as session:
        assert session.get(f"https://127.0.0.1:{port}", timeout=60).status_code == 200


def test_it_repeats_what_may_be_repeated() -> None:
    with new_session({}, RETRIES) as session:
        adapter = session.get_adapter("https://x")
    assert isinstance(adapter, HTTPAdapter)
    assert adapter.max_retries.total == RETRIES.total
