"""Why an instance died, read from logs of vLLM as it really wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.crash import CAUSES, EXCERPT_BYTES, diagnose, excerpt
from infra.standin import CRASHES

LOGS = Path(__file__).with_name("vllm_logs")


def log(name: str) -> str:
    return (LOGS / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "exit_code", "code", "permanent", "says"),
    [
        ("badflag", 2, "INVALID_CONFIG", True, "unrecognized arguments: --no-such-flag"),
        ("maxlen", 1, "CONTEXT_TOO_LONG", True, "--max-model-len"),
        ("nodir", 1, "MODEL_NOT_FOUND", True, "'/no/such/dir'"),
        ("nomodel_online", 1, "HUB_UNREACHABLE", False, "we cannot find the requested files"),
        ("ok-container", 1, "SHM_TOO_SMALL", True, "160 MiB required, 64 MiB free"),
    ],
)
def test_real_logs(name: str, exit_code: int, code: str, permanent: bool, says: str) -> None:
    found = diagnose(log(name), exit_code, oom_killed=False)
    assert (found.error_code, found.permanent) == (code, permanent)
    assert says in found.message
    assert "raise " not in found.message, "a line of source is no cause"
    assert "[core.py" not in found.message


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


def test_gated_says_whether_the_token_or_the_licence_is_missing() -> None:
    assert "HF_TOKEN in" in diagnose("OSError: You are trying to access a gated repo.", 1, False).message
    assert "licence" in diagnose("403 Client Error: Forbidden for url: https://huggingface.co/x", 1, False).message


def test_the_most_telling_cause_wins_over_what_came_before_it() -> None:
    text = "OSError: We couldn't connect to 'https://huggingface.co'\ntorch.OutOfMemoryError: CUDA out of memory."
    assert diagnose(text, 1, False).error_code == "CUDA_OUT_OF_MEMORY"


@pytest.mark.parametrize(
    ("exit_code", "oom", "code", "says"),
    [
        (137, True, "HOST_OUT_OF_MEMORY", "memory"),
        (1, True, "HOST_OUT_OF_MEMORY", "memory"),
        (0, False, "CONTAINER_FAILED", "exit code 0"),
        (137, False, "CONTAINER_FAILED", "SIGKILL"),
        (139, False, "CONTAINER_FAILED", "signal 11"),
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
    for cause in CAUSES:
        assert cause.advice.endswith(".")
