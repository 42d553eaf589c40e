"""Why an instance died, read from logs of vLLM as it really wrote them."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.fake_vllm import CRASHES
from muster.diagnostics.log import EXCERPT_BYTES, diagnose, excerpt
from tests.fixtures.vllm_logs import LOGS, SOURCES, log


@pytest.mark.parametrize("name", SOURCES)
def test_a_real_log_is_diagnosed_as_its_source_says(name: str) -> None:
    expected = SOURCES[name]
    found = diagnose(log(name), expected.get("exit_code", 1), oom_killed=False)
    assert (found.error_code, found.permanent) == (expected["code"], expected.get("permanent", False))
    assert expected["says"] in found.message
    assert "raise ValueError" not in found.message, "a line of source is no cause"
    assert "[core.py" not in found.message


def test_every_log_has_a_source_and_a_version() -> None:
    assert {each.stem for each in LOGS.glob("*.txt")} == set(SOURCES)
    assert all(each["source"] and each["version"] for each in SOURCES.values())


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (CRASHES["cuda_oom"], "CUDA_OUT_OF_MEMORY"),
        (CRASHES["no_kv_cache"], "CUDA_OUT_OF_MEMORY"),
        (CRASHES["shm"], "SHM_TOO_SMALL"),
        (CRASHES["driver"], "DRIVER_TOO_OLD"),
        (CRASHES["no_gpu"], "GPU_UNAVAILABLE"),
        (CRASHES["gated"], "MODEL_GATED"),
        (CRASHES["hub"], "HUB_UNREACHABLE"),
        (CRASHES["disk_full"], "DISK_FULL"),
        (
            "ValueError: Free memory on device (3/79 GiB) is less than desired GPU memory utilization",
            "CUDA_OUT_OF_MEMORY",
        ),
        ("ValueError: max seq len (131072) is larger than the maximum number of tokens that fit", "CONTEXT_TOO_LONG"),
        ("OSError: [Errno 98] error while attempting to bind on address: address already in use", "PORT_IN_USE"),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to", "HOST_OUT_OF_MEMORY"),
        ("pydantic_core._pydantic_core.ValidationError: 1 validation error for CacheConfig", "INVALID_CONFIG"),
        (
            "huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error. Repository Not Found for url: x. If you "
            "are trying to access a private or gated repo, make sure you are authenticated.",
            "MODEL_NOT_FOUND",
        ),
        ("OSError: 403 Client Error: you are not in the authorized list", "MODEL_GATED"),
    ],
)
def test_a_cause_far_above_the_end_is_found(line: str, code: str) -> None:
    text = "\n".join(
        ["INFO 11-23 14:09:11 [a.py:1] hello", line, *["  File x, line 3"] * 300, "RuntimeError: see above"]
    )
    found = diagnose(text, 1, oom_killed=False)
    assert found.error_code == code
    assert found.message.endswith(line[:600])


CAUSED_BY_ITSELF = [name for name in SOURCES if SOURCES[name]["code"] != "CONTAINER_FAILED"]


@pytest.mark.parametrize(("first", "second"), list(permutations(["cuda_oom", "nccl_shm", "nodir", "port_in_use"], 2)))
def test_of_several_errors_the_first_is_the_cause(first: str, second: str) -> None:
    text = f"{log('healthy')}\n{log(first)}\n{log(second)}"
    assert diagnose(text, 1, False).error_code == SOURCES[first]["code"]


@pytest.mark.parametrize("name", CAUSED_BY_ITSELF)
def test_what_a_collector_of_logs_puts_before_each_line_changes_nothing(name: str) -> None:
    for prefix in ("2026-11-23T14:09:11.685300953Z ", "vllm-1  | ", "Aug 19 18:34:30 vllm vllm[8707]: ", "\x1b[1;36m"):
        text = "\n".join(prefix + line for line in log(name).splitlines())
        assert diagnose(text, 1, False).error_code == SOURCES[name]["code"], prefix


@pytest.mark.parametrize("name", ["cuda_oom", "gated_no_token", "hub_timeout", "nodir", "gpu_none"])
def test_what_the_server_got_over_is_no_cause(name: str) -> None:
    """A hub that is down, say, while the cache has the weights; or an error of one request."""
    for milestone in (
        "(APIServer pid=1) INFO 11-23 14:09:18 [model.py:733] Resolved architecture: LlamaForCausalLM",
        "INFO:     Application startup complete.",
    ):
        text = f"{log(name)}\n{milestone}\n"
        assert diagnose(text, 0, False).error_code == "CONTAINER_FAILED"
        assert diagnose(text + CRASHES["shm"], 1, False).error_code == "SHM_TOO_SMALL"


@pytest.mark.parametrize("level", ["INFO", "WARNING", "DEBUG"])
def test_what_is_only_noted_is_no_cause(level: str) -> None:
    for cause in CRASHES.values():
        for header in (
            f"(Worker pid=7) {level} 11-23 14:09:11 [a.py:1] ",
            f"{level}:     ",
            f"[2026-05-21 23:55:54] {level} ",
        ):
            assert diagnose(header + cause, 5, False).error_code == "CONTAINER_FAILED"


def test_source_in_a_traceback_is_no_cause() -> None:
    text = """Traceback (most recent call last):
  File "/x/engine.py", line 3, in f
    raise RuntimeError("CUDA out of memory. Tried to allocate")
my.module.OddError: no such luck"""
    found = diagnose(text, 1, False)
    assert found.error_code == "CONTAINER_FAILED"
    assert found.message.endswith("my.module.OddError: no such luck")


@pytest.mark.parametrize(
    ("exit_code", "oom", "code", "says"),
    [
        (137, True, "HOST_OUT_OF_MEMORY", "memory"),
        (1, True, "HOST_OUT_OF_MEMORY", "memory"),
        (0, False, "CONTAINER_FAILED", "exit code 0"),
        (137, False, "CONTAINER_FAILED", "SIGKILL"),
        (139, False, "CONTAINER_FAILED", "signal 11"),
        (143, False, "CONTAINER_FAILED", "signal 15"),
        (3, False, "CONTAINER_FAILED", "exit code 3"),
        (None, False, "CONTAINER_FAILED", "nobody saw"),
    ],
)
def test_without_words_the_exit_code_must_do(exit_code: int | None, oom: bool, code: str, says: str) -> None:
    found = diagnose("", exit_code, oom)
    assert (found.error_code, found.permanent) == (code, False)
    assert says in found.message


def test_an_unknown_failure_shows_its_first_error_and_not_what_only_mentions_one() -> None:
    text = (
        "(APIServer pid=1) WARNING 11-23 14:09:11 [u.py:2] can cause errors like `OSError: [Errno 24] Too many`\n"
        "(EngineCore pid=2) ERROR 11-23 14:09:12 [core.py:3] my.module.WeirdError: the cause\n"
        "RuntimeError: Engine core initialization failed."
    )
    assert diagnose(text, 1, False).message.endswith("my.module.WeirdError: the cause")


@given(st.text(), st.none() | st.integers(0, 255), st.booleans())
def test_any_log_has_a_diagnosis(text: str, exit_code: int | None, oom: bool) -> None:
    found = diagnose(text, exit_code, oom)
    assert found.error_code
    assert 0 < len(found.message) < 2000


@given(
    st.lists(st.sampled_from(["ü" * 700, "\U0001f600" * 9000, "x", "", "A.BError: y", CRASHES["shm"]]), max_size=300)
)
def test_an_excerpt_is_bounded_and_ends_as_the_log_does(lines: list[str]) -> None:
    text = "\n".join(lines)
    cut = excerpt(text)
    assert len(cut.encode()) <= EXCERPT_BYTES
    assert text.endswith(cut[-200:])
    if len(text.encode()) <= EXCERPT_BYTES:
        assert cut == text
    if CRASHES["shm"] in text:
        assert CRASHES["shm"] in cut


def test_an_excerpt_keeps_a_cause_far_above() -> None:
    text = "start\n" * 5_000 + CRASHES["shm"] + "\n" + "later line\n" * 10_000
    assert len("later line\n" * 10_000) > EXCERPT_BYTES
    assert CRASHES["shm"] in excerpt(text)
    assert diagnose(excerpt(text), 1, False) == diagnose(text, 1, False)


def test_an_excerpt_keeps_an_assertion_that_has_no_message() -> None:
    said = "    assert param_data.shape == loaded_weight.shape\nAssertionError\n"
    text = "start\n" * 5_000 + said + "later line\n" * 10_000
    assert "assert param_data.shape" in excerpt(text)


@pytest.mark.parametrize(
    "request_error",
    [
        "ValueError: Odd is not supported for this model. Please set --odd-flag.",
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ChatCompletionRequest",
        "KeyError: 'invalid tool call parser: x (chose from { hermes })'",
    ],
)
def test_what_a_server_refuses_once_it_is_up_is_a_request(request_error: str) -> None:
    refused = diagnose(request_error, 1, False)
    assert (refused.error_code, refused.permanent) == ("INVALID_CONFIG", True)
    later = diagnose(f"INFO:     Application startup complete.\n{request_error}\nmy.module.OddError: odd", 1, False)
    assert (later.error_code, later.permanent) == ("CONTAINER_FAILED", False)


def test_what_ends_the_engine_of_a_server_that_was_up_is_its_cause() -> None:
    text = (
        "INFO:     Application startup complete.\nValueError: Odd is not supported. Please set --odd-flag.\n"
        "ERROR 07-26 06:20:12 [core.py:634] EngineCore encountered a fatal error.\n"
        "ERROR 07-26 06:20:12 [core.py:634] ValueError: While loading LAB/x, expected target modules in [] but "
        "received ['embed_tokens']."
    )
    found = diagnose(text, 1, False)
    assert found.error_code == "INVALID_CONFIG" and "merge it into the model" in found.message


# A program that cannot be executed


@pytest.mark.parametrize(
    ("line", "exit_code"),
    [
        ("[FATAL tini (7)] exec vllm failed: No such file or directory", 127),
        ("[FATAL tini (6)] exec /usr/bin/vllm failed: Permission denied", 126),
        ("[FATAL tini (7)] exec /usr/bin/vllm failed: Exec format error", 1),
        ("exec /usr/bin/vllm: exec format error", 1),
        ("exec /usr/bin/vllm: exec format error", 255),
        ("exec /usr/bin/vllm: no such file or directory", 1),
        ("exec /usr/bin/vllm: no such file or directory", 127),
        ("standard_init_linux.go:228: exec user process caused: exec format error", 1),
        ('standard_init_linux.go:219: exec user process caused "no such file or directory"', 1),
        ("[dumb-init] vllm: No such file or directory", 2),
        ("sh: 1: vllm: not found", 127),
        ("/bin/sh: vllm: not found", 127),
        ("bash: line 1: vllm: command not found", 127),
        ("bash: /usr/bin/vllm: cannot execute binary file: Exec format error", 126),
        ("/usr/bin/env: 'python3': No such file or directory", 127),
        ("/opt/vllm/bin/vllm: No such file or directory", 127),
        ("/opt/vllm/bin/vllm: Permission denied", 126),
        ("vllm: error while loading shared libraries: libpython3.12.so.1.0: cannot open shared object file", 127),
        ("/usr/bin/python3: No module named vllm", 1),
        ("", 126),
        ("", 127),
    ],
)
def test_a_program_that_cannot_be_executed_is_permanent_and_the_line_is_quoted(line: str, exit_code: int) -> None:
    for text in (line, f"2026-11-23T14:09:11.685300953Z {line}", f"entry point 1.2\n{line}\n"):
        found = diagnose(text, exit_code, oom_killed=False)
        assert (found.error_code, found.permanent) == ("IMAGE_UNSUITABLE", True)
        assert line in found.message


def test_exit_code_127_is_permanent_until_the_server_was_up() -> None:
    found = diagnose("INFO: Resolved architecture: Llama\nsh: 9: worker: not found", 127, oom_killed=False)
    assert (found.error_code, found.permanent) == ("IMAGE_UNSUITABLE", True)


def test_a_known_cause_explains_more_than_exit_code_127() -> None:
    found = diagnose("vllm: ImportError: libcuda.so.1: cannot open shared object file", 127, oom_killed=False)
    assert (found.error_code, found.permanent) == ("GPU_UNAVAILABLE", False)


def test_a_server_that_was_up_has_not_failed_to_execute() -> None:
    found = diagnose("INFO: Application startup complete.\nsh: 3: nvidia-smi: not found", 127, oom_killed=False)
    assert (found.error_code, found.permanent) == ("CONTAINER_FAILED", False)


@pytest.mark.parametrize(
    "line", ["sh: 1: nvidia-smi: not found", "warning: exec /x: no such file or directory, ignored", "hw exec: done"]
)
def test_a_tool_that_is_missing_amid_a_log_is_no_cause(line: str) -> None:
    assert diagnose(f"{line}\nRuntimeError: something else", 1, oom_killed=False).error_code == "CONTAINER_FAILED"


def test_an_illegal_instruction_is_permanent_where_nothing_else_tells_why() -> None:
    found = diagnose("", 132, oom_killed=False)
    assert (found.error_code, found.permanent) == ("IMAGE_UNSUITABLE", True)
    assert "processor" in found.message
    assert diagnose("TypeError: odd", 132, oom_killed=False).error_code == "CONTAINER_FAILED"
