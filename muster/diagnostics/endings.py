"""How a process ended, by its exit code alone."""

from __future__ import annotations

import signal

SIGKILL_EXIT_CODE = 128 + signal.SIGKILL
MAX_SIGNAL_EXIT_CODE = 192
"""128 + 64: there are no more signals, and a greater code is the program's own."""

NOT_EXECUTED = {126: "its program cannot be executed", 127: "its program was not found"}
"""Exit codes of shells, init processes, and Docker."""


def ending(exit_code: int | None) -> str:
    """One sentence."""
    if exit_code is None:
        return "It ended, and nobody saw with which exit code."
    if exit_code == 0:
        return "It ended by itself with exit code 0, as vLLM does when one of its processes was killed."
    if exit_code == SIGKILL_EXIT_CODE:
        return "It was killed (exit code 137, SIGKILL): by hand, or by the kernel for memory."
    if exit_code in NOT_EXECUTED:
        return f"It ended with exit code {exit_code}: {NOT_EXECUTED[exit_code]}."
    if 128 < exit_code <= MAX_SIGNAL_EXIT_CODE:
        return f"It was ended by {_signal(exit_code - 128)} (exit code {exit_code})."
    return f"It ended with exit code {exit_code}."


def _signal(number: int) -> str:
    try:
        return f"signal {number}, {signal.Signals(number).name}"
    except ValueError:
        return f"signal {number}"
