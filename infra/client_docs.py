"""docs/client.md, made from the docstrings of `muster.Client` and from the types that `muster` exports.

    python -m infra.client_docs            write the page (make docs)
    python -m infra.client_docs --check    fail if the page is out of date

A docstring has a summary, and the sections Args, Returns, Raises, and Example where it has them.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import msgspec

import muster

PAGE = Path(__file__).resolve().parents[1] / "docs" / "client.md"
MAX_SIGNATURE_CHARACTERS = 100
COMMAND = "make docs"
SECTIONS = ("Args", "Returns", "Raises", "Example")
HEAD = """# The Python client

<!-- Made from the docstrings of muster.Client by `make docs`. Change them, not this page. -->

`from muster import Client` is the [API](protocol.md#what-operators-call) for Python programs. `muster` exports
each type that a method takes or returns. `import muster` loads no other module: names are imported at their first use.
[The command line](cli.md) does nothing that the client cannot do.
"""
UNITS = """Sizes are in bytes, durations in seconds, and times in UTC. A field that is `UNSET` is missing in the request
or in the answer; `from muster import UNSET` imports the value.
"""


@dataclass
class Docstring:
    """A docstring's parts. `args` and `raises` are texts by name, in their order."""

    summary: str
    args: dict[str, str] = field(default_factory=dict)
    returns: str = ""
    raises: dict[str, str] = field(default_factory=dict)
    example: str = ""


def parse(text: str) -> Docstring:
    """Return the parts of a docstring that `inspect.getdoc` has cleaned."""
    pieces = re.split(rf"^({'|'.join(SECTIONS)}):\n", text, flags=re.M)
    parts = {name: textwrap.dedent(body).strip() for name, body in zip(pieces[1::2], pieces[2::2], strict=True)}
    return Docstring(
        pieces[0].strip(),
        dict(_entries(parts.get("Args", ""))),
        " ".join(parts.get("Returns", "").split()),
        dict(_entries(parts.get("Raises", ""))),
        parts.get("Example", ""),
    )


def _entries(text: str) -> Iterator[tuple[str, str]]:
    for entry in re.split(r"\n(?=\S)", text) if text else ():
        name, _, rest = entry.partition(":")
        yield name, " ".join(rest.split())


def methods() -> dict[str, list[str]]:
    """Return the public members of Client by the comment that heads them in the source, in its order."""
    groups: dict[str, list[str]] = {}
    heading = ""
    for line in inspect.getsource(muster.Client).splitlines():
        if found := re.fullmatch(r"    # (.+)", line):
            heading = found[1]
        elif (found := re.match(r"    def ([a-z]\w*)\(", line)) is not None:
            groups.setdefault(heading, []).append(found[1])
    return groups


def documented(name: str) -> Docstring:
    return parse(inspect.getdoc(inspect.getattr_static(muster.Client, name)) or "")


def signature(name: str) -> str:
    """Return the call as one would write it: types by their exported names, one argument a line if it is long."""
    member = inspect.getattr_static(muster.Client, name)
    if isinstance(member, property):
        return f"client.{name} -> {inspect.signature(typing.cast(Any, member.fget)).return_annotation}"
    found = inspect.signature(member)
    arguments: list[str] = []
    for parameter in list(found.parameters.values())[1:]:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            keywords = _keywords(parameter.annotation)
            arguments += ["*", *(f"{key}: {_short(kind)} = ..." for key, kind in keywords.items())]
            continue
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and "*" not in arguments:
            arguments.append("*")
        default = "" if parameter.default is inspect.Parameter.empty else f" = {parameter.default!r}"
        arguments.append(f"{parameter.name}: {_short(parameter.annotation)}{default}".replace("'", '"'))
    called = "Client" if name == "__init__" else f"client.{name}"
    answer = "Client" if name == "__init__" else _short(str(found.return_annotation))
    line = f"{called}({', '.join(arguments)}) -> {answer}"
    if len(line) <= MAX_SIGNATURE_CHARACTERS:
        return line
    return f"{called}(\n" + "".join(f"    {argument},\n" for argument in arguments) + f") -> {answer}"


def _keywords(annotation: str) -> dict[str, str]:
    """The keyword arguments that `Unpack[SomeTypedDict]` stands for."""
    found = re.fullmatch(r"Unpack\[(\w+)\]", annotation)
    assert found, f"**{annotation}: expected Unpack[…] of an exported TypedDict"
    return {name: kind.__name__ for name, kind in typing.get_type_hints(getattr(muster, found[1])).items()}


def _short(annotation: str) -> str:
    """`r.Worker` is `Worker`; names of other libraries keep their module. Quotes are those of ruff."""
    return re.sub(r"\b(?!requests\b)[a-z_]+\.(?=[A-Z])", "", annotation).replace("'", '"')


def types() -> list[str]:
    """Return the exported names of types, in alphabetical order: all but the client, errors, and what is no type."""
    others = {"Client", "UNSET", "settled"}
    return [name for name in sorted(muster.__all__) if name not in others and not _is_error(getattr(muster, name))]


def _is_error(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)


def errors() -> list[str]:
    """Return the exported errors, base classes before their subclasses."""
    found = [name for name in muster.__all__ if _is_error(getattr(muster, name))]
    return sorted(found, key=lambda name: (len(getattr(muster, name).__mro__), name))


def outline(name: str) -> str:
    """Return the fields of a type, with defaults, as its class would be written without constraints."""
    kind = getattr(muster, name)
    if not isinstance(kind, type):
        return f"{name} = {_shown(kind)}"
    if issubclass(kind, Enum):
        return "\n".join([f"class {name}(StrEnum):", *(f'    {member.name} = "{member.value}"' for member in kind)])
    hints = typing.get_type_hints(kind)
    if dataclasses.is_dataclass(kind):
        return "\n".join([f"class {name}:", *(f"    {field}: {_shown(hints[field])} = ..." for field in hints)])
    if not issubclass(kind, msgspec.Struct):
        return "\n".join([f"class {name}(TypedDict):", *(f"    {field}: {_shown(hints[field])}" for field in hints)])
    fields = msgspec.structs.fields(kind)
    lines = [f"    {field.name}: {_shown(hints[field.name])}" + _default(field) for field in fields]
    return "\n".join([f"class {name}:", *lines])


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default is msgspec.UNSET:
        return " = UNSET"
    if field.default is not msgspec.NODEFAULT:
        return f" = {field.default!r}".replace("'", '"')
    return "" if field.default_factory is msgspec.NODEFAULT else f" = {field.default_factory()!r}"


def _shown(hint: Any) -> str:
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        values = (f'"{value}"' if isinstance(value, str) else str(value) for value in arguments)
        return f"Literal[{', '.join(values)}]"
    if origin in (list, dict):
        return f"{origin.__name__}[{', '.join(map(_shown, arguments))}]"
    if origin is Callable:
        taken, answer = arguments
        return f"Callable[[{', '.join(map(_shown, taken))}], {_shown(answer)}]"
    if arguments:
        return " | ".join(map(_shown, arguments))
    return "None" if hint is type(None) else getattr(hint, "__name__", str(hint))


def _linked(text: str) -> str:
    """Link each exported name that stands in backticks."""
    linked = {*types(), *errors()}
    return re.sub(r"`(\w+)`", lambda found: _link(found[1]) if found[1] in linked else found[0], text)


def _link(name: str) -> str:
    return f"[`{name}`](#{name.lower()})"


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(_linked(text), 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _item(name: str, text: str) -> str:
    return _wrapped(f"- {name}: {text}", "  ") + "\n"


def _method(name: str) -> Iterator[str]:
    found = documented(name)
    if name == "__init__":
        yield f"### Client\n\n{_linked(_docstring('Client'))}\n"
    else:
        yield f"### client.{name}\n"
    yield f"```python\n{signature(name)}\n```\n"
    yield _linked(found.summary) + "\n"
    if found.args:
        yield "Arguments:\n"
        yield "".join(_item(f"`{argument}`", text) for argument, text in found.args.items())
    if found.returns:
        yield _wrapped(f"Returns: {found.returns}") + "\n"
    if found.raises:
        yield "Raises:\n"
        yield "".join(_item(f"`{error}`", text) for error, text in found.raises.items())
    if found.example:
        yield f"```python\n{found.example}\n```\n"


def page() -> str:
    """Return the whole page."""
    parts, groups = [HEAD], methods()
    parts.append("".join(f"- [{heading}](#{_anchor(heading)})\n" for heading in (*groups, "Errors", "Types")))
    first, *_ = groups
    for heading, names in groups.items():
        parts.append(f"## {heading}\n")
        for name in (["__init__"] if heading == first else []) + names:
            parts += _method(name)
    parts.append("## Errors\n")
    for name in errors():
        base = getattr(muster, name).__base__.__name__
        parts.append(f"### {name}\n")
        parts.append(f"A subclass of {_link(base)}.\n" if base in muster.__all__ else "A subclass of `Exception`.\n")
        parts.append(_linked(_docstring(name)) + "\n")
    parts.append("## Types\n")
    parts.append(UNITS)
    for name in types():
        parts.append(f"### {name}\n")
        parts.append(_linked(_docstring(name)) + "\n")
        parts.append(f"```python\n{outline(name)}\n```\n")
    return "\n".join(parts)


def _docstring(name: str) -> str:
    """Return the text of a class, or the one below the assignment of an alias. Raises AssertionError without any."""
    kind = getattr(muster, name)
    text = kind.__dict__.get("__doc__") if isinstance(kind, type) else _below(name)
    assert text, f"muster.{name} has no docstring"
    return inspect.cleandoc(text)


def _below(name: str) -> str | None:
    statements = ast.parse(inspect.getsource(import_module(muster._HOME[name]))).body
    for statement, after in pairwise(statements):
        assigns = isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name
        if assigns and isinstance(after, ast.Expr):
            return str(ast.literal_eval(after.value))
    return None


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@click.command()
@click.option("--check", is_flag=True, help="Fail if the page is out of date. Write nothing.")
@click.pass_obj
def main(path: Path | None, check: bool) -> None:
    """Write docs/client.md from the docstrings of muster.Client."""
    path = path or PAGE
    made = page()
    if check and (not path.exists() or path.read_text() != made):
        raise click.ClickException(f"{path.name} is out of date: run `{COMMAND}`")
    if not check:
        path.write_text(made)


if __name__ == "__main__":
    main()
