"""What all commands share: the control plane, the output, and the exit codes.

0 success    2 usage error    4 authentication or permission error    6 unreachable, or timeout
1 failure    3 not found      5 conflict                              130 interrupted (Ctrl-C)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from muster.cli import text
from muster.cli.account import Account, AccountError, load
from muster.cli.output import Cell, Stream
from muster.client import Client, Clock
from muster.exceptions import AuthError, Conflict, Invalid, MusterError, NotFound, Unreachable

if TYPE_CHECKING:
    import requests

FAILED, USAGE, NOT_FOUND, AUTH, CONFLICT, UNREACHABLE, INTERRUPTED = 1, 2, 3, 4, 5, 6, 130
EXIT_CODES: tuple[tuple[type[MusterError], int], ...] = (
    (Unreachable, UNREACHABLE),
    (AuthError, AUTH),
    (NotFound, NOT_FOUND),
    (Conflict, CONFLICT),
    (Invalid, USAGE),
)
F = TypeVar("F", bound=Callable[..., Any])


class Stop(click.ClickException):
    """Ends the command with `exit_code`; the message contains what to do."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(text.clean(message))
        self.exit_code = exit_code  # type: ignore[misc]  # click sets it as a class's, and reads it as an instance's


@dataclass
class Shell:
    """`wall` is the time of day, `clock` how waiting is done; tests have their own, and their own `session`."""

    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    session: Callable[[], requests.Session | None] = lambda: None
    clock: Clock = field(default_factory=Clock)
    wall: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    json: bool = False

    @cached_property
    def client(self) -> Client:
        return self.connect(self.account)

    @cached_property
    def account(self) -> Account:
        try:
            return load(self.environment)
        except AccountError as error:
            raise Stop(str(error), AUTH) from error

    def connect(self, account: Account) -> Client:
        return Client(account.url, account.api_key, session=self.session(), clock=self.clock)

    @cached_property
    def out(self) -> Stream:
        return Stream(stderr=False)

    @cached_property
    def err(self) -> Stream:
        """For progress and advice, so that a result can be piped."""
        return Stream(stderr=True)

    @property
    def live(self) -> bool:
        """Whether somebody watches: a terminal, and no program that reads."""
        return self.err.is_terminal and not self.json

    # Speaking

    def say(self, *lines: Cell) -> None:
        for line in lines:
            self.out.line(line)

    def note(self, *lines: Cell) -> None:
        for line in lines:
            self.err.line(line, style="dim")

    def dump(self, value: Any) -> None:
        """As the API would answer, indented."""
        self.raw(msgspec.json.format(msgspec.json.encode(value), indent=2))

    def dump_line(self, value: Any) -> None:
        """One of many, a line each."""
        self.raw(msgspec.json.encode(value))

    def raw(self, encoded: bytes) -> None:
        click.echo(text.escaped_json(encoded.decode()))

    def show(self, value: Any, *lines: Cell) -> None:
        """`value` for programs, `lines` for people."""
        if self.json:
            self.dump(value)
        else:
            self.say(*lines)

    def table(self, value: Any, columns: str, rows: list[tuple[Cell, ...]], none: str) -> None:
        """`value` for programs, a table for people; where it has no rows, `none` says what to do about it."""
        if self.json:
            self.dump(value)
        elif not rows:
            self.note(none)
        else:
            self.out.table(columns, rows)


# Commands


class Command(click.Command):
    """With examples, which the help shows and the tests try."""

    def __init__(self, *arguments: Any, examples: str, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for example in self.examples.strip().splitlines():
                formatter.write(f"{' ' * formatter.current_indent}{example.strip()}\n")


class Group(click.Group):
    """Its commands in the order in which they were made. `default` is meant where none is named: `muster workers`."""

    def __init__(self, *arguments: Any, default: str | None = None, **more: Any) -> None:
        more.setdefault("no_args_is_help", default is None)
        super().__init__(*arguments, **more)
        self.default = default

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        helps = ctx.help_option_names
        is_typed = not ctx.resilient_parsing  # a completion's words are the beginning of something
        if self.default and is_typed and (not args or args[0].startswith("-")) and not set(args) & set(helps):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


def command(name: str, *, examples: str, of: click.Group | None = None) -> Callable[[F], Command]:
    """Return a decorator that makes a command with the option --output. The command receives the shell.

    `of` is the group of the command; `main` adds the others.
    """

    def make(function: F) -> Command:
        passed: Any = click.make_pass_decorator(Shell)(function)
        made: Command = click.command(name, cls=Command, examples=examples)(_output(passed))
        if of is not None:
            of.add_command(made)
        return made

    return make


def _output(function: Any) -> Any:
    def remember(ctx: click.Context, _: click.Parameter, value: str) -> None:
        ctx.ensure_object(Shell).json = value == "json"

    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        expose_value=False,
        callback=remember,
        help="Output format: a table for people, JSON for programs.",
    )(function)


def exit_code(error: MusterError) -> int:
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), FAILED)
