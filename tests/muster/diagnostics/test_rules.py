"""The table of known causes: each row has an example, which it alone explains, and says what to do."""

from __future__ import annotations

import re
from string import Formatter

import msgspec
import pytest

from chalicelib.reconcile.reports import FIXABLE, FIXABLE_ENV
from muster.api.messages import MAX_CODE, Fix
from muster.cli.explain import page, sections
from muster.diagnostics import docker
from muster.diagnostics.lines import read
from muster.diagnostics.log import diagnose, find
from muster.diagnostics.rules import TABLES, Row, Rule, every_rule, read_table, rules
from tests.fixtures import markdown
from tests.fixtures.vllm_logs import SOURCES, log

RULES = every_rule()
NAMES = [f"{each.table}-{each.number}-{each.code}" for each in RULES]


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_a_row_explains_its_examples(rule: Rule) -> None:
    assert rule.row.examples
    for example in rule.row.examples:
        if "log" in rule.row.read:
            found = find(read(example))
            assert found is not None and found.rule is rule, f"{example}: {found and found.rule.row}"
            said = diagnose(example, 1, False)
            assert (said.error_code, said.permanent) == (rule.code, rule.row.permanent)
        if "docker" in rule.row.read:
            told = docker.read(example, "OTHERWISE", "registry.example")
            assert (told.error_code, told.permanent) == (rule.code, rule.row.permanent)
            first = next(each for each in rules("docker") if each.search(example))
            assert first is rule, f"{example}: {first.row}"


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_a_row_says_what_to_do_with_the_words_of_its_line(rule: Rule) -> None:
    assert rule.row.advice.endswith("."), "whole sentences"
    used = {name for _, name, _, _ in Formatter().parse(rule.row.advice) if name}
    for pattern in rule.patterns:
        assert used - {"registry"} <= set(pattern.groupindex) | set(), pattern.pattern
    if rule.row.fix is not None or rule.row.calculate is not None:
        assert rule.row.calculate is None or rule.row.fix is None
        match = next(
            found for example in rule.row.examples for line in read(example) if (found := rule.search(line.text))
        )
        assert isinstance(rule.advise(match).fix, Fix) or rule.row.calculate == "capabilities", "no setting"


def test_the_control_plane_takes_every_setting_that_a_row_proposes() -> None:
    for rule in RULES:
        fix = rule.row.fix
        if fix is not None:
            assert set(fix.config) <= set(FIXABLE) and set(fix.env) <= FIXABLE_ENV, rule.row


def test_every_code_of_the_table_has_its_section_in_the_troubleshooting_page() -> None:
    known = sections(page())
    assert {each.code for each in RULES} <= set(known)
    assert all(len(each.code) <= MAX_CODE for each in RULES)


def test_every_table_is_read_and_none_is_left_out() -> None:
    from importlib.resources import files

    there = {each.name.removesuffix(".toml") for each in (files("muster.diagnostics") / "tables").iterdir()}
    assert there == set(TABLES)
    assert all(read_table(name) for name in TABLES)


def test_a_row_that_is_misspelled_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="pattern"):
        msgspec.convert({"code": "X", "pattern": "y"}, Row)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (
            "/x/torch/cuda/__init__.py:129: UserWarning: CUDA initialization: The NVIDIA driver on your system is too "
            "old (found version 12020).\n  return torch._C._cuda_getDeviceCount() > 0\n"
            "RuntimeError: Failed to infer device type",
            "DRIVER_TOO_OLD",
        ),
        (
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for DeviceConfig\n"
            "  Value error, Failed to infer device type",
            "GPU_UNAVAILABLE",
        ),
        (
            "host:1:1 [0] include/shm.h:48 NCCL WARN Error while creating shared memory segment /dev/shm/nccl-x (size "
            "9637888), error: No space left on device (28)\nRuntimeError: NCCL error: unhandled system error",
            "SHM_TOO_SMALL",
        ),
        (
            "RuntimeError: NCCL error: unhandled system error\nLast error:\nError while creating shared memory segment "
            "/dev/shm/nccl-x (size 9637888), error: No space left on device (28)",
            "SHM_TOO_SMALL",
        ),
        (
            "RuntimeError: NCCL error: unhandled cuda error\nLast error:\nCuda failure 2 'out of memory'",
            "CUDA_OUT_OF_MEMORY",
        ),
        (
            "RuntimeError: Engine core initialization failed. Failed core proc(s): {'EngineCore': -9}",
            "HOST_OUT_OF_MEMORY",
        ),
        (
            "RuntimeError: NCCL error: unhandled cuda error\nLast error:\nCuda failure 999 'unknown error'\n"
            "RuntimeError: Engine core initialization failed. Failed core proc(s): {'EngineCore': -9}",
            "GPU_COMMUNICATION",
        ),
        ("ray.exceptions.OutOfMemoryError: Task was killed, node running low on memory", "HOST_OUT_OF_MEMORY"),
        (
            "Unable to find image 'x' locally\ndocker: Error response from daemon: Get \"https://reg.example/v2/\": "
            "dial tcp: lookup registry.example: no such host.",
            "REGISTRY_UNREACHABLE",
        ),
        (
            "Unable to find image 'x' locally\ndocker: Error response from daemon: manifest for x not found",
            "IMAGE_NOT_FOUND",
        ),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", "GPU_FAULT"),
        (
            "Failed: Cuda error LAB/csrc/custom_all_reduce.cuh:455 'an illegal memory access was encountered'",
            "GPU_COMMUNICATION",
        ),
        (
            "RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [::]:1\n"
            "torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
            "GPU_FAULT",
        ),
        (
            "torch.distributed.DistBackendError: NCCL error in: x.cpp:1, remote process exited or there was a network "
            "error, NCCL version 2.27.3\nncclRemoteError: A call failed possibly due to a network error.\n"
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.74 GiB.",
            "CUDA_OUT_OF_MEMORY",
        ),
        (
            "host:1:1 [0] NCCL WARN P2P is disabled between connected GPUs 1 and 0. You should not see this message "
            "on a production system.\nTypeError: no",
            "CONTAINER_FAILED",
        ),
        (
            "host:1:1 [0] misc/socket.cc:483 NCCL WARN socketStartConnect: Connect to 10.0.0.2<4> failed : x",
            "GPU_COMMUNICATION",
        ),
        ("UserWarning: Not enough free disk space to download the file.\nTypeError: no", "CONTAINER_FAILED"),
        (
            "/x/y.py:12: FutureWarning: x must be divisible by y\nSome weights of the model were not used when "
            "initializing X: ['a']\nTypeError: no",
            "CONTAINER_FAILED",
        ),
        (
            "(Worker_TP1 pid=9) ERROR 10-11 22:28:17 [multiproc_executor.py:694] AssertionError: Attempted to load "
            "weight (torch.Size([36])) into parameter (torch.Size([35]))\n(EngineCore pid=2) ERROR 10-11 22:28:18 "
            "[core.py:1] Exception: WorkerProc initialization failed due to an exception in a background process.",
            "INVALID_CONFIG",
        ),
        ("Unable to apply [Errno 37] x: No locks available", "CACHE_UNUSABLE"),
        ("INFO: Received request: prompt: 'why is my CUDA out of memory?'\nTypeError: no", "CONTAINER_FAILED"),
        ("KeyError: 'name'\nTypeError: no", "CONTAINER_FAILED"),
    ],
)
def test_a_cause_that_looks_like_another_is_told_from_it(text: str, code: str) -> None:
    assert diagnose(text, 1, False).error_code == code


def test_gated_says_whether_the_token_or_the_license_is_missing() -> None:
    assert "HF_TOKEN in" in diagnose("OSError: You are trying to access a gated repo.", 1, False).message
    assert "license" in diagnose("403 Client Error: Forbidden for url: https://huggingface.co/x", 1, False).message


CAUSED = [
    name for name, source in SOURCES.items() if source["code"] in {each.code for each in RULES} - {"CONTAINER_FAILED"}
]


@pytest.mark.parametrize("name", CAUSED)
def test_a_real_log_has_a_line_that_a_row_of_its_cause_names(name: str) -> None:
    code, permanent = SOURCES[name]["code"], SOURCES[name].get("permanent", False)
    found = find(read(log(name)))
    if found is None:
        assert SOURCES[name]["exit_code"] > 1, "only an exit code tells more than the log"
    else:
        assert (found.rule.code, found.rule.row.permanent) == (code, permanent)


def test_a_healthy_log_has_no_line_that_a_row_names() -> None:
    lines = log("healthy").splitlines()
    assert lines
    assert [each.code for each in rules("log") for line in lines if each.search(line)] == []


def test_of_two_rows_that_fit_one_line_the_upper_wins() -> None:
    both = "ERROR: No space left on device: unable to write to file </torch_1_2>"
    fitting = [each.code for each in rules("log") if each.search(both)]
    assert fitting == ["SHM_TOO_SMALL", "DISK_FULL"]
    assert diagnose(both, 1, False).error_code == "SHM_TOO_SMALL"


def test_of_two_rows_of_one_group_the_upper_gives_the_advice() -> None:
    text = "torch.OutOfMemoryError: CUDA out of memory.\nValueError: No available memory for the cache blocks."
    found = diagnose(text, 1, False)
    assert found.error_code == "CUDA_OUT_OF_MEMORY" and "leave no GPU memory for the cache" in found.message
    assert found.message.endswith("No available memory for the cache blocks."), "the line shown is the one explained"


def test_a_symptom_counts_where_there_is_no_cause() -> None:
    gone = "huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error."
    assert diagnose(gone, 1, False).error_code == "MODEL_NOT_FOUND"
    assert diagnose(f"{gone}\nInvalid credentials in Authorization header", 1, False).error_code == "MODEL_GATED"


def test_what_nccl_warned_of_gives_the_advice_where_nccl_failed() -> None:
    warned = "host:91:91 [0] bootstrap.cc:45 NCCL WARN Bootstrap : no socket interface found"
    found = diagnose(f"{warned}\nRuntimeError: NCCL error: unhandled system error", 1, False)
    assert found.fix == Fix(env={"NCCL_SOCKET_IFNAME": "lo"}) and found.message.endswith(warned)


def test_an_exception_that_was_handled_is_no_more_than_a_symptom() -> None:
    chain = "During handling of the above exception, another exception occurred:"
    text = f"OSError: [Errno 98] Address already in use\n{chain}\nOSError: [Errno 28] No space left on device"
    assert diagnose(text, 1, False).error_code == "DISK_FULL"
    assert diagnose(text.replace("Address already in use", "x"), 1, False).error_code == "DISK_FULL"


def test_patterns_compile_without_warnings_and_name_no_python_escapes() -> None:
    for rule in RULES:
        for pattern in rule.row.match:
            re.compile(pattern)
            assert "\b" not in pattern and "\n" not in pattern, f"{rule.table}: {pattern!r}"


def test_the_protocol_says_of_each_code_whether_it_is_restarted() -> None:
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \|[^|]*\| ([^|]*) \|$", markdown.read("docs/protocol.md"), re.M)
    said = {code: restarted for codes, restarted in rows for code in re.findall(r"[A-Z_]+", codes)}
    for code in {each.code for each in RULES} - {"IMAGE_IN_USE"}:  # that is of an operation
        permanent = {each.row.permanent for each in RULES if each.code == code}
        words = set(re.findall(r"\b(?:yes|no)\b", said[code]))
        assert words == {"no" if each else "yes" for each in permanent}, f"{code}: {said[code]}"
