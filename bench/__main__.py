"""`make bench` and `make bench-compare`.

python -m bench run [--quick] [--only NAME ...] [--lmstack DIR]
python -m bench compare REF [--quick] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import host, report, worktree
from bench.figure import FULL, QUICK, Comparison, Figure, Outcome, measure
from bench.figures import command_line, gateway, heartbeats, idle_agent, lambda_handler, lists, starts, tunnels
from bench.peers import Bench
from bench.servers import ROOT, NotMeasured

FIGURES: dict[str, Callable[[Bench], Figure]] = {
    "heartbeats": heartbeats.figure,
    "lists": lists.figure,
    "starts": starts.figure,
    "lambda": lambda_handler.figure,
    "command-line": command_line.figure,
    "agent": idle_agent.figure,
    "gateway": gateway.figure,
    "tunnels": tunnels.figure,
}
FOLDER = ROOT / "build" / "bench"
PAGE = ROOT / "docs" / "benchmarks.md"
IMAGES = ROOT / "docs" / "images"


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def parser() -> argparse.ArgumentParser:
    commands = argparse.ArgumentParser(prog="python -m bench", description="Measure Muster beside floors and peers.")
    parsers = commands.add_subparsers(dest="command", required=True)
    for name in ("run", "compare"):
        command = parsers.add_parser(name)
        command.add_argument("--quick", action="store_true", help="a short run that tries the benchmark itself")
        command.add_argument("--only", nargs="*", choices=sorted(FIGURES), help="the figures to measure (all)")
        if name == "run":
            command.add_argument("--lmstack", type=Path, help="a checkout of LMStack")
        else:
            command.add_argument("reference", help="the commit to compare with")
    return commands


def changes(figure: Figure, reference: str) -> list[Comparison]:
    """Each metric of the working tree beside that of the other commit."""
    return [Comparison(metric.name, "Muster", reference) for metric in figure.metrics]


def measured(bench: Bench, names: list[str]) -> list[Outcome]:
    """Each figure, printed when it is complete. One that fails leaves the others to be measured."""
    outcomes: list[Outcome] = []
    for name in names:
        say(f"{name} begins")
        figure = FIGURES[name](bench)
        if bench.reference:
            figure = dataclasses.replace(figure, comparisons=changes(figure, bench.reference_name))
        try:
            outcome = measure(figure, bench.scale.rounds, say)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            say(f"{name} failed: {error}")
            continue
        print(f"\n{report.terminal(outcome)}", flush=True)
        outcomes.append(outcome)
    return outcomes


def run(options: argparse.Namespace) -> None:
    lmstack = options.lmstack.resolve() if options.lmstack else None
    bench = Bench(FOLDER, QUICK if options.quick else FULL, lmstack)
    machine = [("commit", host.commit(ROOT)), *host.rows()]
    if lmstack:
        machine.append(("LMStack", host.commit(lmstack)))
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    for name in options.only or FIGURES:
        for outcome in measured(bench, [name]):
            keep(outcome, machine, when, options.quick)


def keep(outcome: Outcome, machine: list[tuple[str, str]], when: str, quick: bool) -> None:
    """Write the figure's values, and its part of the page unless the run was quick."""
    from bench.plots import plot  # here alone: `compare` draws nothing

    name = outcome.figure.name
    FOLDER.mkdir(parents=True, exist_ok=True)
    values = {"when": when, "machine": dict(machine), "values": outcome.samples.plain()}
    (FOLDER / f"{name}.json").write_text(json.dumps(values, indent=1))
    image = (FOLDER if quick else IMAGES) / f"bench-{name}.svg"
    plot(outcome.figure, outcome.samples, image)
    text = report.section(outcome, machine, when, f"images/{image.name}")
    if quick:
        (FOLDER / f"{name}.md").write_text(text)
    else:
        report.write(PAGE, name, text)
        say(f"{name}: written to {PAGE.relative_to(ROOT)}")


def compare(options: argparse.Namespace) -> None:
    checkout, commit = worktree.check_out(options.reference, FOLDER)
    try:
        bench = Bench(FOLDER, QUICK if options.quick else FULL, reference=checkout, reference_name=commit)
        python = worktree.python_of(checkout, bench.python)
        say(
            f"the working tree is {host.commit(ROOT)}; a ratio is the working tree's figure divided by that of {commit}"
        )
        measured(dataclasses.replace(bench, reference_python=python), options.only or list(FIGURES))
    finally:
        worktree.remove(checkout)


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    try:
        {"run": run, "compare": compare}[options.command](options)
    except NotMeasured as reason:
        print(f"not measured: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
