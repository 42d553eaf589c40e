"""The tables of harmless settings: they agree with one another and with vLLM's own list of flags."""

from __future__ import annotations

import re

from muster_agent.backends.harmless_flags import CODE_FLAGS, ENV_PLAIN, ENV_TEXT, FLAGS, HOST_FLAGS, NESTED, SHORT_FLAGS
from muster_agent.backends.remote_code import chosen_by_config
from tests.fixtures.vllm_logs import LOGS


def test_no_flag_that_chooses_code_or_a_host_is_listed_as_harmless() -> None:
    assert not {*CODE_FLAGS, *HOST_FLAGS} & {*FLAGS, *NESTED}


def test_of_the_flags_of_vllm_itself_only_those_that_choose_code_are_refused() -> None:
    usage = (LOGS / "badflag.txt").read_text()
    flags = {flag for flag in re.findall(r"--([a-z][a-z0-9-]+)", usage)}
    refused = {flag for flag in flags if chosen_by_config({flag: "x"}, may_bring_code=True)}
    assert len(flags) > 60
    assert refused == {"scheduler-cls", "log-config-file", "logging-config"}


def test_each_short_flag_stands_for_one_flag() -> None:
    assert all(re.fullmatch(r"-[A-Za-z]{1,3}", short) for short in SHORT_FLAGS)


def test_no_variable_that_chooses_code_is_listed() -> None:
    for name in ("PYTHONPATH", "LD_PRELOAD", "PATH", "RAY_ADDRESS", "VLLM_PLUGINS", "NCCL_NET_PLUGIN"):
        assert not ENV_PLAIN.fullmatch(name)
        assert not ENV_TEXT.fullmatch(name)
