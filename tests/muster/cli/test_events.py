"""muster events: what happened, once or as it comes."""

from __future__ import annotations

import re
from collections.abc import Callable

from muster.api import resources as r
from tests.fixtures.operators import Operators
from tests.fixtures.tables import columns

MODEL = "deploy org/model --name m --gpus 0 --wait"


def test_a_timeline_has_the_newest_line_last_with_its_time(operators: Operators) -> None:
    operators.out("deploy org/model --name m --gpus 0")
    operators.clock.pass_time(61)
    operators.out("stop m")
    head, *rows = columns(operators.out("events m"))
    assert head == ["AT", "TYPE", "ABOUT", "MESSAGE", "BY"]
    assert [row[:3] for row in rows] == [
        ["2026-11-24 06:00:00", "created", "m"],
        ["2026-11-24 06:00:00", "placed", "m on gpu-1"],
        ["2026-11-24 06:01:01", "stop", "m on gpu-1"],
    ]
    assert [row[1] for row in columns(operators.out("events m -n 1"))[1:]] == ["stop"]


def test_a_name_is_a_models_before_it_is_a_workers(operators: Operators) -> None:
    operators.out("deploy org/model --name gpu-1 --gpus 0")
    about = operators.json("events gpu-1", r.Events).events
    assert {each.deployment_name for each in about} == {"gpu-1"}
    said = operators.out("events nobody", 3)
    assert said == "Error: there is no deployment and no worker 'nobody'; muster ps and muster workers list them\n"


def test_a_timeline_is_followed_while_the_control_plane_is_away(operators: Operators) -> None:
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


def test_ctrl_c_ends_the_following(operators: Operators) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    operators.meanwhile = interrupt
    said = operators.invoke("events -f")
    assert (said.exit_code, said.stderr.splitlines()[-1]) == (130, "Error: stopped following")
