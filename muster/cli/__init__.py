"""`muster`, the command line. Everything else is imported inside, so that a Ctrl-C while it loads is no traceback.

| module | what it owns |
|---|---|
| `main` | all commands under one name, and how any of them ends badly |
| `deploy`, `deployments`, `logs`, `events`, `top` | models: start one, change or stop it, read its log, watch |
| `apply`, `plan` | `muster apply`, and what it would do; pure |
| `workers`, `hosts`, `operations` | workers, what is on their hosts, what they were asked to do |
| `tokens`, `login`, `account` | tokens and keys; which control plane and which key |
| `explain`, `fix_command` | what a code means, and the command that applies a proposed fix |
| `gateway` | `muster gateway sync` |
| `completion` | shell completion |
| `shell` | what every command shares |
| `names`, `pairs`, `wanted`, `confirm`, `follow` | arguments, options, questions, and progress that commands share |
| `text`, `attention` | words, figures, and conditions for people |
"""

from __future__ import annotations

import signal
import sys

from muster.extras import needed


def program() -> None:
    """Run the command line. SIGINT ends it with code 130, also where the parent ignores SIGINT, as `nohup` does."""
    try:
        signal.signal(signal.SIGINT, _interrupt)
        with needed("cli", "muster"):
            from muster.cli.main import muster

        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal without UTF-8 shows ? instead
        muster(prog_name="muster")
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C, while Python ends, would be one too


def _interrupt(*_: object) -> None:
    """Raise KeyboardInterrupt once. A second SIGINT ends the process, without a traceback.

    The second one is needed where the first was lost: Python drops an exception that is raised in a `__del__`.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt


def end_undisturbed() -> None:
    """Ignore SIGINT if one came already, so that the command ends with its message and its code."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # by `_interrupt`: Python itself has another handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
