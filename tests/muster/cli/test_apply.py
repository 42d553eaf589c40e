"""muster apply: a file in, a plan shown, and the same file again does nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.contract import messages as m
from chalicelib.contract import resources as r
from chalicelib.contract.lifecycle import Status
from muster.cli.apply import Applied
from muster.cli.main import muster
from muster.cli.plan import Step, Wanted, plan, read
from muster.cli.shell import Shell
from tests.fixtures.operators import Operators

FILE = """
models:
  qwen:
    model: org/model
    gpus: 0
    config: {max_model_len: 4096}
    env: {SECRET: {from_host: true}, MODE: "on"}
    worker: gpu-1
  off:
    model: org/model
    gpus: 0
    state: stopped
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "models.yaml"
    made.write_text(FILE)
    return made


def test_it_is_shown_then_done_and_then_there_is_nothing_to_do(operators: Operators, file: Path) -> None:
    operators.out("deploy org/model --name other --gpus 0 --wait")
    shown = ["+ create  qwen  (org/model)", "+ create  off  (org/model; stopped at once)"]
    left = "1 more, which the file does not name, are left alone"
    assert operators.out("apply -f models.yaml --dry-run").splitlines() == [*shown, left]
    assert "qwen" not in operators.out("ps")
    refused = operators.out("apply -f models.yaml", 2)
    assert refused.splitlines() == [*shown, left, "Error: Do this (2)? Nobody is there to ask: say --yes"]

    said = operators.out("apply -f models.yaml --yes --wait").splitlines()
    assert said[:3] == [*shown, left] and said[-1] == "Done."
    statuses = {each.name: each.status for each in operators.client().deployments()}
    assert statuses == {"qwen": Status.RUNNING, "off": Status.STOPPED, "other": Status.RUNNING}
    again = ["= keep    qwen", "= keep    off", "Nothing to do.", left]
    assert operators.out("apply -f models.yaml").splitlines() == again


def test_what_changed_is_named_and_changed(operators: Operators, file: Path) -> None:
    operators.out("apply -f models.yaml --yes --wait")
    file.write_text(FILE.replace("4096", "2048").replace("state: stopped", "state: running"))
    planned = operators.out("apply -f models.yaml --dry-run").splitlines()
    assert planned == ["~ change  qwen  (config.max_model_len: 4096 → 2048)", "▶ start   off  (it is stopped)"]
    done = operators.json("apply -f models.yaml --yes --wait", Applied)
    assert [(each.name, each.action) for each in done.plan] == [("qwen", "change"), ("off", "start")]
    assert [each.status for each in done.deployments] == [Status.RUNNING, Status.RUNNING]
    file.write_text(FILE)
    assert "■ stop    off" in operators.out("apply -f models.yaml --yes")


def test_what_no_change_can_do_is_replaced_after_it_ended(operators: Operators, file: Path) -> None:
    operators.out("apply -f models.yaml --yes --wait")
    before = {each.name: each.deployment_id for each in operators.client().deployments()}
    operators.probe.ready.add("org/another")
    file.write_text(FILE.replace("model: org/model", "model: org/another", 1))
    said = operators.out("apply -f models.yaml --yes --wait")
    assert "± replace qwen  (model: org/model → org/another)" in said
    after = {each.name: each for each in operators.client().deployments()}
    assert after["qwen"].deployment_id != before["qwen"] and after["qwen"].status is Status.RUNNING
    assert after["off"].deployment_id == before["off"]
    assert len([each for each in operators.engine.instances() if each.state == "running"]) == 1


def test_variables_are_compared_by_name_and_sent_again_when_asked_to(operators: Operators, file: Path) -> None:
    operators.out("apply -f models.yaml --yes --wait")
    file.write_text(FILE.replace('"on"', '"off"'))
    assert "Nothing to do." in operators.out("apply -f models.yaml")
    said = operators.out("apply -f models.yaml --send-env --yes")
    assert "~ change  qwen  (env: MODE, SECRET, sent again)" in said


def test_from_standard_input(operators: Operators) -> None:
    said = operators.invoke("apply -f - --yes", stdin="models: {m: {model: org/model, gpus: 0}}")
    assert (said.exit_code, "+ m: pending" in said.stdout) == (0, True)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("models: [", "line 1: "),
        ("models: {m: {modle: x}}", "models[...]: Object contains unknown field `modle`"),
        ("models: {m: {model: x, gpus: many}}", "models[...].gpus: Expected `int | array`, got `str`"),
        ("model: {}", "the file: Object contains unknown field `model`"),
        ("models:\n  m: {model: x}\n  m: {model: y}", "line 3: 'm' is given twice"),
        ("models: {m: {model: x, state: paused}}", "models[...].state: Invalid enum value 'paused'"),
        ("models: {-m: {model: x}}", "Expected `str` matching regex"),
        ("models: {m: !!python/object:os.system {}}", "could not determine a constructor"),
        ("", "Expected `object`, got `null`"),
        ("[" * 5000, "nested too deeply"),
        ("models: {m: {model: x, config: {a: &a [*a]}}}", "nested too deeply"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_the_place(content: str, complaint: str) -> None:
    said = CliRunner().invoke(muster, ["apply", "-f", "-", "--yes"], input=content, obj=Shell(environment={}))
    assert (said.exit_code, said.stdout) == (2, "")
    assert said.stderr.startswith("Error: <stdin>: ") and complaint in said.stderr


def test_words_are_words() -> None:
    content = "models: {off: {model: org/m, config: {date: 2026-01-01, a: on, b: no, c: true, d: 1e3, e: 0.9}}}"
    wanted = read(content)["off"]
    assert wanted.config == {"date": "2026-01-01", "a": "on", "b": "no", "c": True, "d": "1e3", "e": 0.9}


# The plan alone

NOW = datetime(2026, 11, 24, tzinfo=UTC)
CONFIGS = st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 2))
WANTED = st.builds(
    Wanted,
    model=st.sampled_from(["x", "y"]),
    gpus=st.sampled_from([0, 1, [0]]),
    config=CONFIGS,
    image=st.sampled_from([None, "i"]),
    env=st.sampled_from([{}, {"A": "b"}, {"A": m.FromHost(True), "B": "c"}]),
    selector=st.sampled_from([{}, {"zone": "a"}]),
    restart=st.sampled_from(["on-failure", "never"]),
    state=st.sampled_from(["running", "stopped"]),
)


def made(step: Step) -> r.Deployment:
    """What there is once the step is done and has settled."""
    wanted: dict[str, Any] = {name: getattr(step.wanted, name) for name in ("model", "gpus", "config", "image")}
    wanted |= {"selector": step.wanted.selector, "restart": step.wanted.restart, "env": sorted(step.wanted.env)}
    is_running = step.wanted.state == "running"
    status = "running" if is_running else "stopped"
    return r.Deployment(
        **wanted,
        deployment_id="d",
        name=step.name,
        backend="vllm",
        worker_id="w",
        gpu_indexes=[],
        generation=1,
        desired="running" if is_running else "stopped",
        status=Status(status),
        status_as_of=NOW,
        reachable=True,
        message=None,
        error_code=None,
        progress=None,
        container_id=None,
        port=None,
        endpoint=None,
        served_model_name="x",
        restarts=0,
        last_crash=None,
        created_at=NOW,
        updated_at=NOW,
    )


@given(
    st.dictionaries(st.sampled_from(["one", "two"]), WANTED), st.dictionaries(st.sampled_from(["one", "two"]), WANTED)
)
def test_after_it_is_done_there_is_nothing_to_do(before: dict[str, Wanted], after: dict[str, Wanted]) -> None:
    found = {step.name: made(step) for step in plan(before, {}, {})}
    steps = plan(after, found, {})
    assert [step.name for step in steps] == list(after)
    for step in steps:
        same = step.name in before and made(step) == found[step.name]
        assert (step.verb == "keep") == same
    found |= {step.name: made(step) for step in steps}
    assert {step.verb for step in plan(after, found, {})} <= {"keep"}
