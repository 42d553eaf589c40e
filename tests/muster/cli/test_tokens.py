"""muster tokens, keys, join: what lets a host in, and what lets a person or a program in."""

from __future__ import annotations

import re

from tests.fixtures.operators import Operators
from tests.fixtures.tables import columns


def test_join_is_one_line_with_a_token_of_its_own(operators: Operators) -> None:
    line = operators.invoke("join --name gpu-2 --address 10.0.0.7").stdout
    token = re.search(r"MUSTER_TOKEN=(mst_reg_\S+) ", line)
    assert token and line == (
        f"curl -fsSL https://muster.example/join.sh | sudo MUSTER_TOKEN={token[1]} sh -s --"
        " --url https://muster.example --name gpu-2 --address 10.0.0.7\n"
    )
    assert "leave them out with --uses" in operators.out("join --uses 2 --name x", 2)


def test_a_secret_is_shown_once_and_alone(operators: Operators) -> None:
    said = operators.invoke("keys create ci --role operator")
    assert re.fullmatch(r"mst_key_\S+\n", said.stdout)
    assert said.stderr == "ci is operator; the key is not shown again.\n"
    said = operators.invoke("tokens create --uses 3 --expires 2h --ephemeral")
    assert re.fullmatch(r"mst_reg_\S+\n", said.stdout)
    assert ["0/3", "in 2h", "ephemeral"] in [row[-3:] for row in columns(operators.out("tokens"))]
    assert "ci" in operators.out("keys") and "mst_key" not in operators.out("keys")


def test_a_token_is_shown_with_what_is_left_of_it(operators: Operators) -> None:
    operators.out("tokens create --name rack --expires 2h")
    operators.clock.pass_time(1800)
    assert ["rack", "0/1", "in 1h"] in [row[1:] for row in columns(operators.out("tokens"))]
    operators.clock.pass_time(3 * 3600)
    assert "rack  0/1  in" not in operators.out("tokens")


def test_a_revoked_key_opens_nothing(operators: Operators) -> None:
    key = operators.invoke("keys create ci --role viewer").stdout.strip()
    assert operators.invoke("ps", key=key).exit_code == 0
    assert operators.out("keys revoke ci") == "Key ci is revoked\n"
    assert operators.invoke("ps", key=key).exit_code == 4
