"""Run all tests beside processes that keep every core busy: no test depends on how busy the machine is.

python -m tests.busy --processes 8 --times 3 [pytest's arguments …]
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

BUSY = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
while True:
    pass
"""
"""A process that computes until the end of its standard input, which comes with the end of this process."""


@contextmanager
def busy(processes: int) -> Iterator[None]:
    started = [subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--processes", default=8, show_default=True, help="How many processes keep the cores busy.")
@click.option("--times", default=3, show_default=True, help="How often the tests run.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def main(processes: int, times: int, arguments: tuple[str, ...]) -> None:
    """Run pytest with ARGUMENTS, beside busy processes, until one run fails."""
    with busy(processes):
        for number in range(1, times + 1):
            click.echo(f"Run {number} of {times}, beside {processes} busy processes")
            code = subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode
            if code:
                raise SystemExit(code)


if __name__ == "__main__":
    main()
