"""muster apply: a file in, a plan shown, and the same file again does nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from muster.api.lifecycle import Status
from muster.cli.apply import Applied
from muster.cli.main import muster
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


def test_a_plan_is_shown_then_carried_out_and_then_nothing_is_left(operators: Operators, file: Path) -> None:
    operators.out("deploy org/model --name other --gpus 0 --wait")
    shown = ["+ create  qwen  (org/model)", "+ create  off  (org/model; stopped at once)"]
    left = "1 more, which the file does not name, stay as they are"
    assert operators.out("apply -f models.yaml --dry-run").splitlines() == [*shown, left]
    assert "qwen" not in operators.out("ps")
    refused = operators.out("apply -f models.yaml", 2)
    assert refused.splitlines() == [
        *shown,
        left,
        "Error: Apply this plan (2)? There is no terminal to ask on: pass --yes",
    ]

    said = operators.out("apply -f models.yaml --yes --wait").splitlines()
    assert said[:3] == [*shown, left] and said[-1] == "Done."
    statuses = {each.name: each.status for each in operators.client().deployments()}
    assert statuses == {"qwen": Status.RUNNING, "off": Status.STOPPED, "other": Status.RUNNING}
    again = ["= keep    qwen", "= keep    off", "Nothing to do.", left]
    assert operators.out("apply -f models.yaml").splitlines() == again


def test_a_change_is_named_and_made(operators: Operators, file: Path) -> None:
    operators.out("apply -f models.yaml --yes --wait")
    file.write_text(FILE.replace("4096", "2048").replace("state: stopped", "state: running"))
    planned = operators.out("apply -f models.yaml --dry-run").splitlines()
    assert planned == ["~ change  qwen  (config.max_model_len: 4096 → 2048)", "▶ start   off  (it is stopped)"]
    done = operators.json("apply -f models.yaml --yes --wait", Applied)
    assert [(each.name, each.action) for each in done.plan] == [("qwen", "change"), ("off", "start")]
    assert [each.status for each in done.deployments] == [Status.RUNNING, Status.RUNNING]
    file.write_text(FILE)
    assert "■ stop    off" in operators.out("apply -f models.yaml --yes")


def test_a_model_that_cannot_be_changed_is_replaced_after_it_ended(operators: Operators, file: Path) -> None:
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


def test_a_dash_is_standard_input(operators: Operators) -> None:
    said = operators.invoke("apply -f - --yes", stdin="models: {m: {model: org/model, gpus: 0}}")
    assert (said.exit_code, "+ m: pending" in said.stdout) == (0, True)


def test_a_mistake_in_the_file_is_a_usage_error_before_anything_is_asked() -> None:
    nowhere = Shell(environment={})
    said = CliRunner().invoke(muster, ["apply", "-f", "-", "--yes"], input="models: {m: {modle: x}}", obj=nowhere)
    assert (said.exit_code, said.stdout) == (2, "")
    assert said.stderr == "Error: <stdin>: models[...]: Object contains unknown field `modle`\n"
