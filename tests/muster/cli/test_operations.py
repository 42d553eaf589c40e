"""muster ops: what workers were asked to do, and what became of it."""

from __future__ import annotations

import re

from tests.fixtures.operators import Operators
from tests.fixtures.tables import columns


def test_an_operation_is_listed_with_its_age_until_it_is_answered(operators: Operators) -> None:
    operators.away = True
    operators.out("pull gpu-1 vllm/vllm-openai:latest --no-wait")
    operators.clock.pass_time(40)
    head, row = columns(operators.out("ops"))
    assert head == ["ID", "WORKER", "TYPE", "STATUS", "PROGRESS", "AGE"]
    assert row[1:] == ["gpu-1", "pull_image", "queued", "40s"]
    operators.away = False
    assert operators.out(f"ops show {row[0]} --wait").splitlines()[-1] == f"pull_image {row[0]}: succeeded"
    assert operators.out("ops") == "No open operations.\n"


def test_an_operation_that_was_not_sent_can_be_cancelled(operators: Operators) -> None:
    operators.away = True
    operators.out("pull gpu-1 vllm/vllm-openai:latest --no-wait")
    asked = columns(operators.out("ops"))[1][0]
    assert operators.out(f"ops cancel {asked}") == "pull_image is cancelled\n"


def test_ctrl_c_names_the_operation_that_goes_on(operators: Operators) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    operators.meanwhile = interrupt
    said = operators.out("pull gpu-1 vllm/vllm-openai:latest", 130)
    found = re.search(r"Error: stopped waiting; the operation continues: muster ops show (\S{36})\n$", said)
    assert found
    operators.meanwhile = lambda: None
    assert operators.out(f"ops show {found[1]} --wait").splitlines()[-1].endswith(": succeeded")
    worker = next(operators.client().workers())
    failing = operators.client().begin_pull(worker.worker_id, "a:b")
    assert "IMAGE_NOT_FOUND" in operators.out(f"ops show {failing} --wait", 1)
