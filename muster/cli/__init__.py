"""`muster`, the command line. Everything else is imported inside: a Ctrl-C while it loads is no traceback, and
`--version` imports nothing (ADR 42).

| module | what it owns |
|---|---|
| `main`, `commands` | all commands under one name, and how any of them ends badly; where each is defined |
| `deploy`, `deployments`, `ps`, `logs`, `events`, `top` | models: start one, change or stop it, read its log, watch |
| `apply`, `plan` | `muster apply`, and what it would do; pure |
| `workers`, `hosts`, `operations` | workers, what is on their hosts, what they were asked to do |
| `tokens`, `login`, `account` | tokens and keys; which control plane and which key |
| `explain`, `fix_command` | what a code means, and the command that applies a proposed fix |
| `gateway`, `gateway_serve` | `muster gateway`: sync and serve |
| `usage_view` | what callers used, and who serves models |
| `completion` | shell completion |
| `shell`, `output` | what every command shares; text and tables for terminals and pipes |
| `names`, `pairs`, `wanted`, `confirm`, `follow` | arguments, options, questions, and progress that commands share |
| `fleet_view` | all workers and deployments, kept up to date by what changed |
| `text`, `progress`, `attention` | words, figures, and conditions for people |
"""

from __future__ import annotations

import sys

from muster.api.version import VERSION

STARTUP_OBJECTS = 100_000
"""Objects that Python makes before a search for unused ones. Importing makes fewer, and none of those is unused."""


def program() -> None:
    """Run the command line."""
    if sys.argv[1:] == ["--version"]:
        try:
            return print(f"muster, version {VERSION}", flush=True)
        except OSError:
            pass  # click ends as others do where nobody reads
    _run()


def _run() -> None:
    """Run a command. SIGINT ends it with code 130, also where the parent ignores SIGINT, as `nohup` does."""
    import gc
    import signal

    try:
        signal.signal(signal.SIGINT, _interrupt)
        gc.set_threshold(STARTUP_OBJECTS)
        from muster.extras import needed

        with needed("cli", "muster"):
            from muster.cli.main import muster

            for stream in (sys.stdout, sys.stderr):
                stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # without UTF-8 a terminal shows ?
            muster(prog_name="muster")
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C, while Python ends, would be one too
        gc.freeze()  # Python ends without a search through all that was imported


def _interrupt(*_: object) -> None:
    """Raise KeyboardInterrupt once. A second SIGINT ends the process, without a traceback.

    The second one is needed where the first was lost: Python drops an exception that is raised in a `__del__`.
    """
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt


def end_undisturbed() -> None:
    """Ignore SIGINT if one came already, so that the command ends with its message and its code."""
    import signal

    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # by `_interrupt`: Python itself has another handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
