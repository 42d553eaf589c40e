"""How a process ended, by its exit code alone."""

from __future__ import annotations

import pytest

from muster.diagnostics.endings import ending


@pytest.mark.parametrize(
    ("exit_code", "says"),
    [
        (None, "nobody saw"),
        (0, "exit code 0"),
        (3, "It ended with exit code 3."),
        (126, "its program cannot be executed"),
        (127, "its program was not found"),
        (128, "It ended with exit code 128."),
        (134, "signal 6, SIGABRT (exit code 134)"),
        (137, "SIGKILL"),
        (139, "signal 11, SIGSEGV"),
        (143, "signal 15, SIGTERM"),
        (192, "signal 64"),
        (193, "It ended with exit code 193."),
        (255, "It ended with exit code 255."),
    ],
)
def test_an_exit_code_is_told_as_what_it_means_and_above_192_as_no_signal(exit_code: int | None, says: str) -> None:
    assert says in ending(exit_code)
