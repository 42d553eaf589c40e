"""The lines of the log, and the first line of an answer."""

from __future__ import annotations

import re

import pytest

from muster.serving.answers import Log, status_line


def test_a_status_has_its_phrase_if_there_is_one() -> None:
    assert status_line(404) == b"HTTP/1.1 404 Not Found\r\n"
    assert status_line(299) == b"HTTP/1.1 299 \r\n"


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/api/health", "/api/health"),
        ("/api/mst_wrk_0000_secret/x", "/api/mst_wrk_…/x"),
        ("/" + "a" * 300, "/" + "a" * 199),
    ],
)
def test_a_line_of_the_log_names_caller_time_status_and_path_without_credentials(
    path: str, logged: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Log().answered("127.0.0.1", 200, "GET", path)
    line = capsys.readouterr().err
    assert re.fullmatch(r"127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4} \d\d:\d\d:\d\d\] 200 GET \S+\n", line)
    assert line.endswith(f" {logged}\n")
