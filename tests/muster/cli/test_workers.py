"""ps, workers, logs, events, top and the rest of what is looked at: what is printed, to the letter where it can be."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
import pytest

from agent.engines import Instance
from agent.policy import TESTED_IMAGE
from chalicelib.contract import resources as r
from muster.cli.deployments import status_of
from muster.cli.follow import step_of
from tests.fixtures.operators import Operators

MODEL = "deploy org/model --name m --gpus 0 --wait"


def columns(said: str) -> list[list[str]]:
    return [re.split(r"  +", each) for each in said.rstrip().splitlines()]


def test_the_models(operators: Operators) -> None:
    operators.out(MODEL)
    head, row = columns(operators.out("ps"))
    assert head == ["NAME", "STATUS", "MODEL", "WORKER", "GPUS", "ENDPOINT", "AGE", "ID"]
    assert row[:6] == ["m", "running", "org/model", "gpu-1", "none", "local only: no address"]
    assert operators.out("ps --status error") == "No models yet: muster deploy MODEL\n"
    assert len(columns(operators.out("ps --on gpu-1"))) == 2


def test_what_cannot_be_reached_is_said_with_its_age(operators: Operators) -> None:
    operators.out(MODEL)
    operators.clock.pass_time(725)
    assert columns(operators.out("ps"))[1][1] == "running (unreachable 12m)"
    assert columns(operators.out("workers"))[1][:3] == ["gpu-1", "offline", "12m"]
    said = operators.out("containers gpu-1", 5)
    assert "the worker was last heard of 12 minutes ago; nothing can reach it (muster workers shows who" in said


def test_a_model_for_a_worker_that_is_away_says_when_it_was_last_seen(operators: Operators) -> None:
    operators.clock.pass_time(725)
    operators.away = True
    said = operators.out("deploy org/model --name m --gpus 0 --on gpu-1 --timeout 2s", 6)
    assert "placed on gpu-1; gpu-1 is offline, last seen 12m ago: it hears of this when it is back" in said


def test_the_workers(operators: Operators) -> None:
    head, row = columns(operators.out("workers"))
    assert head == ["NAME", "STATUS", "SEEN", "GPUS", "FREE", "DISK FREE", "MODELS", "ADDRESS", "ID"]
    assert row[:8] == ["gpu-1", "online", "0s", "none", "0", "60 B", "0", "none"]
    shown = operators.out("workers show gpu-1")
    assert re.search(r"^seen +0s ago; next heartbeat in \d+ s$", shown, re.MULTILINE)
    assert re.search(r"^address +none: its models can be reached on the host alone$", shown, re.MULTILINE)


def test_draining_and_labels(operators: Operators) -> None:
    assert operators.out("workers drain gpu-1") == "gpu-1 is draining\n"
    assert "gpu-1: draining" in operators.out("deploy org/model --gpus 0 --timeout 2s", 6)
    assert operators.out("workers drain gpu-1 --undo") == "gpu-1 is online\n"
    assert operators.out("workers label gpu-1 zone=a rack=4") == "gpu-1: rack=4, zone=a; address none\n"
    assert operators.out("workers label gpu-1 rack- zone=b") == "gpu-1: zone=b; address none\n"
    assert "name a label as KEY=VALUE or KEY-" in operators.out("workers label gpu-1", 2)


def test_a_name_comes_before_the_beginning_of_an_id(operators: Operators) -> None:
    operators.out(MODEL)
    id_ = next(operators.client().deployments()).deployment_id
    for ref in (id_, id_[:4], id_[:8], "m"):
        assert operators.json(f"show {ref}", r.Deployment).deployment_id == id_
    operators.out(f"deploy org/model --gpus 0 --name {id_[:5]}")
    assert operators.json(f"show {id_[:5]}", r.Deployment).name == id_[:5]
    assert operators.out(f"show {id_[:3]}", 3) == f"Error: there is no deployment '{id_[:3]}'; muster ps lists them\n"


def test_what_may_be_several_is_listed(operators: Operators) -> None:
    for _ in range(2):
        operators.out("tokens create --name rack")
    said = operators.out("tokens revoke rack", 2).splitlines()
    assert said[0] == "Error: 'rack' may be any of 2; give more of the id:"
    assert [each.split()[1] for each in said[1:]] == ["rack", "rack"]
    assert operators.out(f"tokens revoke {said[1].split()[0]}") == "Token rack is revoked\n"


# Logs and timelines


def test_a_log(operators: Operators) -> None:
    operators.engine.first_words = "one\ntwo"
    operators.out(MODEL)
    said = operators.invoke("logs m")
    assert (said.stdout, said.exit_code) == ("one\ntwo\n", 0)
    container = operators.engine.only().id
    assert operators.invoke(f"logs {container} --on gpu-1").stdout == "one\ntwo\n"
    assert "--since: expected 10m, or a time such as" in operators.out("logs m --since yesterday", 2)


def test_a_model_whose_worker_was_removed_is_asked_after_and_moved_on(operators: Operators) -> None:
    operators.out(f"{MODEL} --on gpu-1")
    operators.out("workers remove gpu-1 --force --yes")
    assert "its worker was removed, and nobody can be asked for its log" in operators.out("logs m", 3)
    assert operators.out("stop m --wait").endswith("m is stopped\n")
    assert "waiting for a place: the worker that it is for was removed" in operators.out("start m")
    assert "worker None" not in operators.out("events m")


def test_a_log_is_followed_to_its_end_without_loss_or_repeat(operators: Operators) -> None:
    operators.engine.first_words = "line 0"
    operators.out(MODEL)
    container, written = operators.engine.only().id, 0

    def meanwhile() -> None:
        nonlocal written
        written += 1
        if written <= 20 and written % 4 == 0:
            operators.engine.say(container, f"line {written // 4}")
        operators.app.down = written == 9
        if written == 30:
            operators.client().stop(next(operators.client().deployments()).deployment_id)

    operators.meanwhile = meanwhile
    said = operators.invoke("logs m -f")
    assert said.stdout.splitlines() == [f"line {number}" for number in range(6)]
    assert said.exit_code == 0


def test_what_is_followed_ends_with_ctrl_c(operators: Operators) -> None:
    operators.out(MODEL)

    def interrupt() -> None:
        if operators.waited > 10:
            raise KeyboardInterrupt

    operators.meanwhile = interrupt
    for words in ("logs m -f", "events -f"):
        said = operators.invoke(words)
        assert (said.exit_code, said.stderr.splitlines()[-1]) == (130, "Error: not following any more")


def test_a_timeline_is_followed(operators: Operators) -> None:
    operators.out(MODEL)
    steps: list[Callable[[], object]] = [
        lambda: operators.client().stop(next(operators.client().deployments()).deployment_id),
        lambda: setattr(operators.app, "down", True),
        lambda: setattr(operators.app, "down", False),
        *[lambda: None] * 4,
    ]

    def meanwhile() -> None:
        if not steps:
            raise KeyboardInterrupt
        steps.pop(0)()

    operators.meanwhile = meanwhile
    said = operators.invoke("events m -f").stdout.splitlines()
    kinds = [re.split("  +", each)[1] for each in said]
    assert kinds[:2] == ["created", "placed"] and kinds[-3:] == ["stop", "stopping", "stopped"]
    assert len(kinds) == len(operators.json("events m", r.Events).events)
    assert said[-1].endswith("stopped  m on gpu-1  Stopped  (worker gpu-1)")


# Hosts


def test_what_a_host_has(operators: Operators) -> None:
    assert operators.out("pull gpu-1 vllm/vllm-openai:latest").splitlines()[-1] == "gpu-1 has vllm/vllm-openai:latest"
    _, row = columns(operators.invoke("images gpu-1 --fresh").stdout)
    assert row[:3] == ["vllm/vllm-openai:latest", "1 kB", "2024-01-01"]
    assert "Would free 1 kB on gpu-1" in operators.out("prune gpu-1 --dry-run")
    assert operators.engine.images()
    assert "Freed 1 kB on gpu-1" in operators.out("prune gpu-1 --images --yes")
    assert not operators.engine.images()
    assert "no image a:b in the registry" in operators.out("pull gpu-1 a:b", 3)
    assert "No images: muster pull gpu-1 IMAGE" in operators.out("images gpu-1 --fresh")


def test_what_runs_there_and_whose_it_is(operators: Operators) -> None:
    operators.out(MODEL)
    operators.engine.add(Instance(id="f" * 12, name="theirs", image="postgres", state="running"))
    ours = next(each for each in operators.engine.instances() if each.deployment_id)
    rows = columns(operators.invoke("containers gpu-1").stdout)
    assert [each[:4] for each in rows[1:]] == [
        [ours.id[:12], "m", "running", TESTED_IMAGE],
        ["f" * 12, "not Muster's", "running", "postgres"],
    ]
    assert "NOT_OURS" in operators.out(f"containers gpu-1 --stop {'f' * 12} --yes", 1)


def test_ctrl_c_while_a_worker_is_asked_names_the_operation(operators: Operators) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    operators.meanwhile = interrupt
    said = operators.out("pull gpu-1 vllm/vllm-openai:latest", 130)
    found = re.search(r"Error: not waiting any more; it goes on: muster ops show (\S{36})\n$", said)
    assert found
    operators.meanwhile = lambda: None
    assert operators.out(f"ops show {found[1]} --wait").splitlines()[-1].endswith(": succeeded")
    worker = next(operators.client().workers())
    failing = operators.client().begin_pull(worker.worker_id, "a:b")
    assert "IMAGE_NOT_FOUND" in operators.out(f"ops show {failing} --wait", 1)


def test_top_is_one_look_where_nobody_watches(operators: Operators) -> None:
    operators.out(MODEL)
    said = operators.out("top")
    assert re.match(r"https://muster\.example  \d\d:\d\d:\d\d UTC  1 of 1 workers online", said)
    assert "m " in said and "local only: no address" in said


# Letting in


def test_the_line_that_makes_a_host_a_worker(operators: Operators) -> None:
    line = operators.invoke("join --name gpu-2 --address 10.0.0.7").stdout
    token = re.search(r"MUSTER_TOKEN=(mst_reg_\S+) ", line)
    assert token and line == (
        f"curl -fsSL https://muster.example/join.sh | sudo MUSTER_TOKEN={token[1]} sh -s --"
        " --url https://muster.example --name gpu-2 --address 10.0.0.7\n"
    )
    assert "leave them out for several" in operators.out("join --uses 2 --name x", 2)


def test_secrets_are_shown_once_and_alone(operators: Operators) -> None:
    said = operators.invoke("keys create ci --role operator")
    assert re.fullmatch(r"mst_key_\S+\n", said.stdout)
    assert said.stderr == "ci is operator; the key is not shown again.\n"
    said = operators.invoke("tokens create --uses 3 --expires 2h --ephemeral")
    assert re.fullmatch(r"mst_reg_\S+\n", said.stdout)
    assert ["0/3", "in 2h", "ephemeral"] in [row[-3:] for row in columns(operators.out("tokens"))]
    assert "ci" in operators.out("keys") and "mst_key" not in operators.out("keys")


# Words for states, each by itself


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "running"),
        ({"restarts": 2}, "running (restarts: 2)"),
        ({"desired": "stopped"}, "stopping"),
        ({"desired": "stopped", "status": "stopped"}, "stopped"),
        ({"status": "error", "error_code": "PORT_IN_USE", "reachable": False}, "error: PORT_IN_USE"),
        ({"status": "pending", "worker_id": None}, "pending: no place"),
        ({"status": "starting", "progress": {"phase": "compiling"}}, "starting: compiling"),
    ],
)
def test_a_state_in_words(operators: Operators, changes: dict[str, object], words: str) -> None:
    made = msgspec.to_builtins(operators.json("deploy org/model --gpus 0 --wait", r.Deployment))
    seen = msgspec.convert({**made, **changes}, r.Deployment)
    assert status_of(seen, seen.updated_at) == words
    assert step_of(seen, None, seen.updated_at).words
