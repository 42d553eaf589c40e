"""Texts that leave the host have no credential of a model in them."""

from __future__ import annotations

from muster.api.credentials import HIDDEN
from muster.api.messages import FromHost, Stop
from muster_agent.logs.redaction import Secrets
from tests.fixtures.agent_world import AgentWorld
from tests.fixtures.commands import deploy

SECRET = "s3cret-of-the-model"


def test_credentials_of_the_host_and_of_every_command_are_hidden() -> None:
    running = deploy(
        env={"MY_API_KEY": "key-of-d1-1", "HF_TOKEN": FromHost(from_host=True), "VLLM_LOGGING_LEVEL": "DEBUG-ALL"}
    )
    secrets = Secrets(
        lambda: [running, Stop("c", "d2", 1)], {"HF_TOKEN": "host-token", "HTTPS_PROXY": "http://a:bcd@p:1"}
    )
    text = "key-of-d1-1 host-token DEBUG-ALL http://a:bcd@p:1 of-another"
    assert secrets.hide(text) == f"{HIDDEN} {HIDDEN} DEBUG-ALL http://{HIDDEN}@p:1 of-another"
    assert secrets.hide(text, deploy(env={"SECRET": "of-another"})).endswith(HIDDEN)


def test_a_value_that_holds_another_is_hidden_whole_and_a_short_one_not_at_all() -> None:
    secrets = Secrets(lambda: [deploy(env={"A_TOKEN": "x", "API_KEY": "12345678", "SECRET": "12345678-9"})], {})
    assert secrets.hide("12345678-9, fox 12345678") == f"{HIDDEN}, fox {HIDDEN}"


def test_a_crash_report_does_not_carry_what_the_model_printed_of_its_environment(world: AgentWorld) -> None:
    world.deploy(env={"VLLM_API_KEY": SECRET}, restart="never")
    world.settle()
    only = next(iter(world.engine.all.values()))
    world.engine.die(only.id, 1, log=f"ValueError: no such key: {SECRET}\n")
    world.settle(10)
    report = world.last_report()
    assert report.status == "error"
    assert SECRET not in f"{report.message}{report.logs}"
    assert f"no such key: {HIDDEN}" in str(report.message)
    assert f"no such key: {HIDDEN}" in str(report.logs)
