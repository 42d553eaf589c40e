"""Show progress while the CLI waits: bars on a terminal, else a line at each change.

preflight ── placement, the worker's next heartbeat, and its preflight checks
pull ─────── the image
weights ──── from the hub or from disk, into memory
start ────── compiling and warming up, until the endpoint answers
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from muster.api import crash_loops
from muster.api import resources as r
from muster.api.lifecycle import LIVE, Status
from muster.cli import attention, fix_command, names, text
from muster.cli.progress import how_far, share_of, waits_in_loop
from muster.cli.shell import FAILED, INTERRUPTED, UNREACHABLE, Shell, Stop
from muster.client import Watch
from muster.exceptions import TimedOut

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

STAGES = ("preflight", "pull", "weights", "start")
PREFLIGHT, PULL, WEIGHTS, START = range(4)
STAGE_OF_PHASE = {"compiling": START, "serving": START}
CRASH_LOG_LINES = 20
"""Lines of a crash's log that are shown."""


@dataclass(frozen=True)
class Step:
    """Where it is, in words; `share` of that stage that is done, from 0 to 1, where that is known.

    `attempt` counts the starts that failed, and `failure` is why the last one did. `retried` marks a step whose words
    name one try of several. `held_up` are the types of conditions of its worker that it cannot go on with, and `why` is
    what they say. `hints` are what somebody who waits can do.
    """

    stage: str
    words: str
    share: float | None = None
    held_up: tuple[str, ...] = ()
    why: str = ""
    attempt: int = 0
    failure: str = ""
    retried: bool = False
    hints: tuple[str, ...] = ()


def step_of(deployment: r.Deployment, worker: r.Worker | None, now: datetime) -> Step:
    """`worker` is the deployment's, where it is of interest."""
    step, found = _step_of(deployment, worker, now), deployment.conditions
    crash = deployment.last_crash
    if deployment.restarts and crash and deployment.status in LIVE:
        step = replace(step, attempt=deployment.restarts, failure=f"{crash.error_code}: {crash.message}")
        step = replace(step, hints=_hints(deployment))
    if not found:
        return step
    return replace(step, held_up=tuple(condition.type for condition in found), why=attention.held_up(found))


def _hints(deployment: r.Deployment) -> tuple[str, ...]:
    fix = fix_command.proposed(deployment)
    hint = crash_loops.advice(deployment.crash_loop, deployment.name) if deployment.crash_loop else None
    return (*([f"{'fix:':<11}{fix}"] if fix else []), *([f"{'loop:':<11}{hint}"] if hint else []))


def _step_of(deployment: r.Deployment, worker: r.Worker | None, now: datetime) -> Step:
    if deployment.desired == "stopped":
        over = deployment.status in (Status.STOPPING, Status.STOPPED, Status.ERROR)
        return Step("stop", deployment.status if over else f"requested{_waits(worker, now)}")
    if deployment.status is Status.RUNNING:
        return Step(STAGES[START], "ready", 1)
    if deployment.status not in LIVE:
        return Step("failed", deployment.error_code or deployment.status)
    if deployment.status is Status.PENDING:
        if deployment.worker_id is None:
            return Step(STAGES[PREFLIGHT], deployment.message or "waiting for a place")
        return Step(STAGES[PREFLIGHT], f"placed on {worker.name if worker else 'its worker'}{_waits(worker, now)}")
    stage, progress = PULL if deployment.status is Status.DOWNLOADING else WEIGHTS, deployment.progress
    if deployment.crash_loop and waits_in_loop(deployment):
        return Step(STAGES[stage], crash_loops.words(deployment.crash_loop))
    if progress:
        stage = STAGE_OF_PHASE.get(progress.phase, stage)
        if progress.phase == "retrying" and deployment.message:
            words = f"{how_far(progress)}: {deployment.message}"
            return Step(STAGES[stage], words, share_of(progress), retried=True)
        return Step(STAGES[stage], how_far(progress), share_of(progress))
    return Step(STAGES[stage], deployment.message or deployment.status)


def _waits(worker: r.Worker | None, now: datetime) -> str:
    if worker is None:
        return ""
    if worker.status == "offline":
        silent = text.ago(worker.last_seen, now)
        return f"; {worker.name} is offline, last seen {silent} ago: the change reaches it when it is back"
    return f"; waiting for its next heartbeat, in {worker.due_in or 0} s"


# Showing it


class Display:
    """`update` is told each step, however often it is the same."""

    _attempt: int | None = None
    _hints: tuple[str, ...] = ()

    def update(self, step: Step) -> None:
        """Show nothing: a program reads the output."""

    def failed_attempt(self, step: Step) -> str | None:
        """A line about a start that failed since the last step, and is tried again."""
        before, self._attempt = self._attempt, step.attempt
        is_news = before is not None and step.attempt > before
        return text.line(f"{'retry:':<11}{step.failure}, restart {step.attempt}") if is_news else None

    def new_hints(self, step: Step) -> list[str]:
        """Those that were not shown yet."""
        new = [text.line(hint) for hint in step.hints if hint not in self._hints]
        self._hints += step.hints
        return new


class Lines(Display):
    """One line at each change of stage, each further tenth of it, each retry, and each change of what holds it up."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._last: tuple[str, str] | None = None
        self._held_up: tuple[str, ...] = ()

    def update(self, step: Step) -> None:
        what = step.words.split(" ")[0] if step.share is None else f"{step.words.split(' ')[0]} {int(step.share * 10)}"
        what = step.words if step.retried else what
        if failed := self.failed_attempt(step):
            if not step.failure.endswith(step.words):  # the next start is under way
                self._shell.note(failed)
            self._last = None
        if (step.stage, what) != self._last:
            self._last = (step.stage, what)
            self._shell.note(text.line(f"{step.stage + ':':<11}{step.words}"))
        for hint in self.new_hints(step):
            self._shell.note(hint)
        if step.held_up != self._held_up:
            self._held_up = step.held_up
            self._shell.note(text.line(f"{'held up:':<11}{step.why or 'no longer'}"))


class Bars(Display):
    """A bar for each stage that was reached, below a line for each retry."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._retried = ""

    def update(self, step: Step) -> None:
        if failed := self.failed_attempt(step):
            self._bars.console.print(failed, style="dim", soft_wrap=True)
        if step.retried and step.words != self._retried:
            self._retried = step.words
            self._bars.console.print(text.line(f"{'retry:':<11}{step.words}"), style="dim", soft_wrap=True)
        for hint in self.new_hints(step):
            self._bars.console.print(hint, style="dim", soft_wrap=True)
        for stage, task in self._tasks.items():
            if stage != step.stage:
                self._bars.update(task, total=1, completed=1, words="")
        if step.stage not in self._tasks:
            self._tasks[step.stage] = self._bars.add_task(step.stage, total=None, words="")
        words = text.line(f"{step.words}; held up by {step.why}" if step.why else step.words)
        total = None if step.share is None else 1
        self._bars.update(self._tasks[step.stage], total=total, completed=step.share or 0, words=words)

    def done(self) -> None:
        for task in self._tasks.values():
            self._bars.update(task, total=1, completed=1, words="")


@contextmanager
def display(shell: Shell, *, lines: bool = True) -> Iterator[Display]:
    """`lines` are wanted also where nobody watches."""
    if not shell.live:
        yield Lines(shell) if lines and not shell.json else Display()
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description:<10}", markup=False),
        BarColumn(bar_width=24, complete_style="green", finished_style="green", pulse_style="green"),
        TextColumn("{task.fields[words]}", markup=False),
    )
    with Progress(*columns, console=shell.err.console, transient=True) as bars:
        yield Bars(bars)


# What is watched


def deployment(shell: Shell, found: r.Deployment, timeout: float | None, worker_name: str = "") -> r.Deployment:
    """Wait until the deployment runs or is stopped, as intended. Raises Stop on failure, timeout, and Ctrl-C."""
    client, seen = shell.client, found
    try:
        with display(shell) as shown:
            for seen in client.watch_deployment(found.deployment_id, timeout=timeout):
                waits = seen.status is Status.PENDING or seen.desired == "stopped"
                worker = names.worker_of(client, seen) if waits else None
                shown.update(step_of(seen, worker, shell.wall()))
    except KeyboardInterrupt as error:
        message = f"stopped waiting; {found.name} continues: muster ps, muster logs -f {found.name}"
        raise Stop(message, INTERRUPTED) from error
    except TimedOut as error:
        state = f"{seen.status} ({crash_loops.words(seen.crash_loop)})" if seen.crash_loop else seen.status
        message = f"{found.name} is {state} after {text.duration(timeout or 0)}, and continues: muster ps"
        raise Stop(text.line(message), UNREACHABLE) from error
    failed = seen.status is Status.ERROR or (seen.status is Status.STOPPED and seen.desired == "running")
    if failed and found.desired == "running":
        if shell.json:
            shell.dump(seen)
        else:
            crash(shell, seen)
            fix = fix_command.proposed(seen)
            if fix:
                shell.note(text.line(f"The proposed fix: {fix}"))
            explained(shell, seen)
        raise Stop(f"{seen.name} failed: {seen.error_code or seen.status}: {seen.message or 'no message'}", FAILED)
    return seen


def crash(shell: Shell, failed: r.Deployment, *, asked_for: bool = False) -> None:
    """The end of the log that came with the failure; what to change is in its message.

    Where the log is `asked_for` it is the result, on stdout; else it is advice beside another command's result.
    """
    report = failed.last_crash
    if report is None or not report.logs.strip():
        return
    head = f"End of the log ({report.at:%H:%M:%S} UTC; more: muster logs {failed.name}):"
    lines = text.clean("\n".join(report.logs.rstrip().splitlines()[-CRASH_LOG_LINES:]))
    if asked_for:
        shell.say(head, lines)
        return
    shell.note(head)
    shell.err.line(lines)


def explained(shell: Shell, failed: r.Deployment) -> None:
    if failed.error_code:
        shell.note(text.line(f"muster explain {failed.error_code} says what to do"))


@contextmanager
def answer(shell: Shell, worker: str, *, lines: bool = False) -> Iterator[Watch]:
    """Show the progress of an operation: the countdown to the worker's next heartbeat, then the operation's progress.

    After Ctrl-C the operation continues; the message contains its id.
    """
    asked: list[str] = []
    due = 0.0

    try:
        with display(shell, lines=lines) as shown:

            def watch(seen: r.Accepted | r.Operation) -> None:
                nonlocal due
                if isinstance(seen, r.Accepted):
                    due = shell.clock.now() + seen.worker_next_heartbeat_in
                    asked.append(seen.operation_id)
                if isinstance(seen, r.Operation) and seen.progress:
                    shown.update(Step("pull", how_far(seen.progress), share_of(seen.progress)))
                elif seen.status in ("queued", "sent"):
                    left = max(0, round(due - shell.clock.now()))
                    shown.update(Step("ask", f"waiting for the next heartbeat of {worker}, in {left} s"))
                elif seen.status in ("accepted", "running"):
                    shown.update(Step("ask", f"running on {worker}"))

            yield watch
    except KeyboardInterrupt as error:
        hint = f"; the operation continues: muster ops show {asked[0]}" if asked else ""
        raise Stop(f"stopped waiting{hint}", INTERRUPTED) from error
    except TimedOut as error:
        raise Stop(f"{error.message}: muster ops show {error.operation_id}", UNREACHABLE) from error
