"""muster logs: what a model or a container says, to its end or as it comes."""

from __future__ import annotations

from tests.fixtures.operators import Operators

MODEL = "deploy org/model --name m --gpus 0 --wait"


def test_a_log_is_shown_by_its_model_or_its_container(operators: Operators) -> None:
    operators.engine.first_words = "one\ntwo"
    operators.out(MODEL)
    said = operators.invoke("logs m")
    assert (said.stdout, said.exit_code) == ("one\ntwo\n", 0)
    container = operators.engine.only().id
    assert operators.invoke(f"logs {container} --on gpu-1").stdout == "one\ntwo\n"
    assert "--since: expected 10m, or a time such as" in operators.out("logs m --since yesterday", 2)


def test_a_model_whose_worker_was_removed_has_no_log_and_may_be_started_elsewhere(operators: Operators) -> None:
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


def test_ctrl_c_ends_the_following(operators: Operators) -> None:
    operators.out(MODEL)
    before = operators.waited

    def interrupt() -> None:
        if operators.waited > before + 10:
            raise KeyboardInterrupt

    operators.meanwhile = interrupt
    said = operators.invoke("logs m -f")
    assert (said.exit_code, said.stderr.splitlines()[-1]) == (130, "Error: stopped following")
