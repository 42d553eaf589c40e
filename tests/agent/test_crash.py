"""Why an instance died, read from logs of vLLM as it really wrote them."""

from __future__ import annotations

import tomllib
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.causes import CAUSES, LAST_RESORTS
from agent.crash import EXCERPT_BYTES, diagnose, excerpt
from agent.hints import hint
from chalicelib.contract.messages import Fix
from infra.standin import CRASHES

LOGS = Path(__file__).with_name("vllm_logs")


SOURCES = tomllib.loads((LOGS / "sources.toml").read_text(encoding="utf-8"))


def log(name: str) -> str:
    return (LOGS / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SOURCES)
def test_real_logs(name: str) -> None:
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
def test_a_cause_far_above_the_end(line: str, code: str) -> None:
    text = "\n".join(
        ["INFO 11-23 14:09:11 [a.py:1] hello", line, *["  File x, line 3"] * 300, "RuntimeError: see above"]
    )
    found = diagnose(text, 1, oom_killed=False)
    assert found.error_code == code
    assert found.message.endswith(line[:600])


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
            "RuntimeError: Engine core initialization failed. Failed core proc(s): {'EngineCore': -9}",
            "HOST_OUT_OF_MEMORY",
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
        ("RuntimeError: CUDA error: an illegal memory access was encountered", "CONTAINER_FAILED"),
        ("UserWarning: Not enough free disk space to download the file.\nTypeError: no", "CONTAINER_FAILED"),
        ("INFO: Received request: prompt: 'why is my CUDA out of memory?'\nTypeError: no", "CONTAINER_FAILED"),
    ],
)
def test_what_looks_like_something_else(text: str, code: str) -> None:
    assert diagnose(text, 1, False).error_code == code


def test_gated_says_whether_the_token_or_the_licence_is_missing() -> None:
    assert "HF_TOKEN in" in diagnose("OSError: You are trying to access a gated repo.", 1, False).message
    assert "licence" in diagnose("403 Client Error: Forbidden for url: https://huggingface.co/x", 1, False).message


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
    ("line", "says"),
    [
        (
            "the model's max seq len (4096), (0.0 GiB KV cache is needed, which is larger than the available KV cache "
            "memory (0.0 GiB)",
            "Not even a short context fits.",
        ),
        (
            "max seq len (4096), (8.0 GiB KV cache is needed, which is larger than the available KV cache "
            "memory (-1.5 GiB)",
            "Not even a short context fits.",
        ),
        (
            "ValueError: Free memory on device cuda:0 (19.77/22.05 GiB) on startup is less than desired GPU memory "
            "utilization (0.9, 19.84 GiB)",
            "--gpu-memory-utilization 0.89",
        ),
        ("attention heads (7) must be divisible by tensor parallel size (3)", "--tensor-parallel-size 1 divides"),
        ("ValueError: World size (4) is larger than the number of available GPUs (2) in this node.", "set `gpus` to 4"),
    ],
)
def test_hints_have_the_number_to_set(line: str, says: str) -> None:
    assert says in hint([line]).text


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("the estimated maximum model length is 34736.", Fix({"max_model_len": 34736})),
        ("is greater than the derived max_model_len (max_position_embeddings=131072)", Fix({"max_model_len": 131072})),
        ("Free memory on device cuda:0 (19.77/22.05 GiB) on startup", Fix({"gpu_memory_utilization": 0.89})),
        ("Free memory on device cuda:0 (1.77/22.05 GiB) on startup", None),
        ("attention heads (7) must be divisible by tensor parallel size (3)", Fix({"tensor_parallel_size": 1})),
        ("World size (4) is larger than the number of available GPUs (2)", Fix(gpus=4)),
        ("torch.OutOfMemoryError: CUDA out of memory.", None),
    ],
)
def test_a_fix_is_there_exactly_where_the_number_is(line: str, fix: Fix | None) -> None:
    assert hint([line]).fix == fix


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
    text = "start\n" * 50_000 + CRASHES["shm"] + "\n" + "later line\n" * 100_000
    assert CRASHES["shm"] in excerpt(text)
    assert diagnose(excerpt(text), 1, False) == diagnose(text, 1, False)


def test_every_cause_says_what_to_do() -> None:
    for cause in (*CAUSES, *LAST_RESORTS):
        assert cause.advice.endswith(".")
