"""Change a module in every small way, one at a time: its own tests have to notice.

python -m tests.mutation agent/muster_agent/runner/plan.py
"""

from __future__ import annotations

import os
import sys

import click
from rich.console import Console
from rich.progress import Progress

from tests.fixtures import ROOT
from tests.mutation.mutations import Mutation, mutations
from tests.mutation.runs import TestsFailed, survives
from tests.mutation.scores import PAGE, Findings, Score, reasons, recorded


@click.command()
@click.argument("module")
@click.option("--jobs", default=os.cpu_count() or 1, show_default="one per core", help="Runs at the same time.")
@click.option("--least", default=85.0, show_default=True, help="The score in percent below which the command fails.")
@click.option("--record/--no-record", default=True, show_default=True, help="Write the score to docs/reliability.md.")
def main(module: str, jobs: int, least: float, record: bool) -> None:
    """Run MODULE's own tests against each of its mutations; list those that survive.

    MODULE is a path such as agent/muster_agent/runner/plan.py. An interrupted run resumes: results stay in
    build/mutation until the module or its tests change. Survivors with a reason are in tests/mutation/survivors.toml.
    """
    os.chdir(ROOT)
    folder, _, name = module.rpartition("/")
    tests = f"tests/{folder.replace('agent/muster_agent', 'agent')}/test_{name}"
    for path in (module, tests):
        if not (ROOT / path).is_file():
            raise click.ClickException(
                f"{path}: no such file; MODULE is a path such as agent/muster_agent/runner/plan.py"
            )
    console = Console()
    findings = Findings.of(module, tests)
    found = list(mutations((ROOT / module).read_text()))
    left = [each for each in found if each.key not in findings.survived]
    console.print(f"{module}: {len(found)} mutations, {len(left)} to try with {tests}", highlight=False)
    try:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(module, total=len(found), completed=len(found) - len(left))
            for mutation, survived in survives(module, tests, left, jobs):
                findings.note(mutation.key, survived)
                progress.advance(task)
    except TestsFailed as error:
        raise click.ClickException(str(error)) from error
    score = _report(console, module, found, findings)
    if record:
        PAGE.write_text(recorded(PAGE.read_text(), score))
    sys.exit(score.percent < least)


def _report(console: Console, module: str, found: list[Mutation], findings: Findings) -> Score:
    why = reasons(module)
    survivors = [each for each in found if findings.survived[each.key]]
    for each in survivors:
        console.print(f"{module}:{each.line}: {each.key}", markup=False, highlight=False, soft_wrap=True)
        if each.key in why:
            console.print(f"    {why[each.key]}", markup=False, highlight=False)
    for key in why.keys() - {each.key for each in survivors}:
        console.print(f"survivors.toml: no such survivor of {module}: {key}", markup=False, highlight=False)
    killed = len(found) - len(survivors)
    score = Score(module, len(found), killed, sum(each.key in why for each in survivors))
    console.print(f"{module}: {killed} of {len(found)} killed, {score.percent:.1f} %", highlight=False)
    return score


if __name__ == "__main__":
    main()
