"""What holds for every command: examples that can be typed, types for programs, and an end for each kind of trouble."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from muster.api import gateways as g
from muster.api import messages as m
from muster.api import resources as r
from muster.cli.apply import Applied
from muster.cli.login import Login
from muster.cli.main import muster
from muster.cli.shell import Command
from muster.cli.tokens import Join
from muster.cli.top import Top
from tests.fixtures.commandlines import parse
from tests.fixtures.database import Recorder
from tests.fixtures.operators import Operators


def commands(group: click.Group = muster, path: str = "") -> Iterator[tuple[str, Command]]:
    for name, found in group.commands.items():
        if isinstance(found, click.Group):
            yield from commands(found, f"{path}{name} ")
        else:
            assert isinstance(found, Command), name
            yield path + name, found


EVERY = dict(commands())
ARGUMENTS = {
    "apply": "-f models.yaml",
    "containers": "gpu-1",
    "deploy": "org/model",
    "gateway serve": "--listen nowhere",
    "gateway sync": "--litellm-url http://127.0.0.1:9 --litellm-key sk-x --once",
    "images": "gpu-1",
    "keys create": "ci --role viewer",
    "keys revoke": "nobody",
    "logs": "nobody",
    "models": "gpu-1",
    "ops cancel": "nobody",
    "ops show": "nobody",
    "prune": "gpu-1 --dry-run",
    "pull": "gpu-1 vllm/vllm-openai:latest",
    "restart": "nobody",
    "rm": "nobody",
    "set": "nobody a=b",
    "show": "nobody",
    "start": "nobody",
    "stop": "nobody",
    "tokens revoke": "nobody",
    "workers drain": "gpu-1",
    "workers label": "gpu-1 a=b",
    "workers lost": "gpu-1 --yes",
    "workers remove": "gpu-1 --yes",
    "workers show": "gpu-1",
}
"""What a command needs to be understood."""
OFFLINE = {"completion", "explain", "gateway serve", "login", "logout"}
TALKING = sorted(EVERY.keys() - OFFLINE)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models.yaml").write_text("models: {m: {model: org/model, gpus: 0}}")


def line(name: str) -> str:
    return f"{name} {ARGUMENTS.get(name, '')}"


@pytest.mark.parametrize("name", EVERY)
def test_the_help_of_a_command_has_examples_that_can_be_typed(name: str) -> None:
    context = click.Context(EVERY[name], info_name=name, parent=click.Context(muster, info_name="muster"))
    _, found, examples = EVERY[name].get_help(context).partition("Examples:\n")
    assert found
    for each in examples.strip().splitlines():
        assert f"muster {name}" in each or f"muster {name.removesuffix(' list')}" in each
        parse(each)


def test_without_a_login_each_command_says_how_to_log_in(operators: Operators) -> None:
    advice = "Error: not logged in: run muster login URL, or set MUSTER_URL and MUSTER_API_KEY\n"
    for name in TALKING:
        said = operators.invoke(line(name), key=None)
        assert (name, said.exit_code, said.stdout, said.stderr) == (name, 4, "", advice)


def test_with_a_revoked_key_each_command_ends_with_4(operators: Operators) -> None:
    for name in TALKING:
        said = operators.invoke(line(name), key="mst_key_revoked")
        assert (name, said.exit_code, said.stdout) == (name, 4, "")
        assert "the API key is not valid, or was revoked: muster login URL" in said.stderr


def test_with_a_control_plane_that_is_down_each_command_ends_with_6(operators: Operators) -> None:
    operators.app.down = True
    for name in TALKING:
        said = operators.invoke(line(name))
        assert (name, said.exit_code, said.stdout) == (name, 6, "")
        assert said.stderr.startswith(
            "Error: cannot reach https://muster.example: the connection was refused: nothing listens there ("
        )


UNKNOWN = {
    "muster ps": ["show ?", "stop ?", "start ?", "restart ?", "rm ?", "logs ?", "set ? a=b", "events ?"],
    "muster workers": [
        *("workers show ?", "workers drain ?", "workers label ? a=b", "workers lost ? -y", "workers remove ? -y"),
        *("containers ?", "images ?", "models ?", "disk ?", "prune ? -y", "pull ? a:b", "ops list ?", "ps --on ?"),
        *("deploy m --on ?", "logs c --on ?", "events ?"),
    ],
    "muster tokens": ["tokens revoke ?"],
    "muster keys": ["keys revoke ?"],
    "muster ops": ["ops show ?", "ops cancel ?"],
    "results are kept for 7 days": ["ops show 00000000-0000-4000-8000-000000000000"],
}


def test_an_unknown_name_ends_with_3_and_names_the_listing(operators: Operators) -> None:
    for listing, every in UNKNOWN.items():
        for words in every:
            said = operators.invoke(words.replace("?", "nobody"))
            assert (words, said.exit_code, said.stdout) == (words, 3, "")
            assert said.stderr.startswith(("Error: there is no ",)) and listing in said.stderr


def test_an_empty_list_is_advice_for_people_and_empty_for_programs(database: Recorder, tmp_path: Path) -> None:
    operators = Operators(tmp_path)
    for name, advice in {
        "ps": "No deployments: muster deploy MODEL",
        "workers": "No workers: muster join prints the command that adds one.",
        "ops": "No open operations.",
        "disk": "No worker has reported disk usage.",
        "events": "No events.",
    }.items():
        said = operators.invoke(name)
        assert (name, said.exit_code, said.stdout, said.stderr) == (name, 0, "", advice + "\n")
        assert [] in msgspec.json.decode(operators.invoke(f"{name} -o json").stdout).values()


JSON: list[tuple[str, Any]] = [
    ("apply -f models.yaml --dry-run", Applied),
    ("containers gpu-1", m.Containers),
    ("deploy org/model --gpus 0 --wait", r.Deployment),
    ("disk", r.Workers),
    ("disk gpu-1", m.Disk),
    ("events", r.Events),
    ("events m", r.Events),
    ("events gpu-1", r.Events),
    ("gateways", g.GatewayList),
    ("images gpu-1 --fresh", m.Images),
    ("join", Join),
    ("keys", r.ApiKeys),
    ("keys create ci --role viewer", r.ApiKey),
    ("keys list", r.ApiKeys),
    ("logs m", m.Logs),
    ("models gpu-1", m.Models),
    ("ops", r.Operations),
    ("prune gpu-1 --dry-run", m.Pruned),
    ("prune gpu-1 --images --yes", m.Pruned),
    ("ps", r.Deployments),
    ("pull gpu-1 vllm/vllm-openai:latest", m.Pulled),
    ("pull gpu-1 vllm/vllm-openai:latest --no-wait", r.Operation),
    ("restart m --wait", r.Deployment),
    ("set m seed=1", r.Deployment),
    ("show m", r.Deployment),
    ("start m", r.Deployment),
    ("stop m", r.Deployment),
    ("tokens", r.RegistrationTokens),
    ("tokens create", r.RegistrationToken),
    ("top", Top),
    ("usage", g.Usage),
    ("workers", r.Workers),
    ("workers drain gpu-1", r.Worker),
    ("workers label gpu-1 a=b", r.Worker),
    ("workers show gpu-1", r.Worker),
    ("rm m --stop --yes", r.Deployment),
    ("workers lost gpu-1 --yes", r.LostWorker),
    ("workers remove gpu-1 --force --yes", r.RemovedWorker),
]


def test_json_is_of_the_contracts_type(operators: Operators) -> None:
    operators.out("deploy org/model --name m --gpus 0 --wait")
    for words, type_ in JSON:
        assert isinstance(operators.json(words, type_), type_), words


def test_json_of_every_command_is_tried() -> None:
    elsewhere = {
        "completion",
        "explain",
        "login",
        "logout",
        "keys revoke",
        "tokens revoke",
        "ops show",
        "ops cancel",
        "gateway serve",
        "gateway sync",
    }
    tried = {name for name in EVERY for words, _ in JSON if f"{words} ".startswith(f"{name.removesuffix(' list')} ")}
    assert EVERY.keys() - tried == elsewhere


def test_json_about_credentials_and_operations_is_of_the_contracts_type(operators: Operators) -> None:
    operators.out("keys create ci --role viewer")
    assert operators.json("keys revoke ci", r.ApiKey).name == "ci"
    made = operators.json("tokens create --name rack", r.RegistrationToken)
    assert operators.json("tokens revoke rack", r.RegistrationToken).token_id == made.token_id
    operators.away = True
    asked = operators.json("pull gpu-1 a:b --no-wait", r.Operation)
    assert operators.json(f"ops show {asked.operation_id[:6]}", r.Operation).status == "queued"
    assert operators.json("ops list gpu-1", r.Operations).operations == [asked]
    assert operators.json(f"ops cancel {asked.operation_id}", r.Operation).status == "cancelled"
    login = operators.json("login https://muster.example", Login, stdin="an admin's key\n")
    assert login.role == "admin"
    assert msgspec.json.decode(operators.out("logout -o json"))["forgotten"] == login.kept_in
    assert msgspec.json.decode(operators.out("completion bash -o json"))["shell"] == "bash"
