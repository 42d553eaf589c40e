"""Which lines of a log may say why it ended, and what belongs together in one."""

from __future__ import annotations

import pytest

from muster.diagnostics.lines import Line, read

HEADLINE = "pydantic_core._pydantic_core.ValidationError: 1 validation error for CacheConfig"
REFUSED = "  Input should be less than or equal to 1 [type=less_than_equal, input_value=1.5, input_type=float]"
MORE = "    For further information visit https://errors.pydantic.dev/2.12/v/less_than_equal"


def texts(log: str) -> list[str]:
    return [line.text for line in read(log)]


PREFIXES = [
    "",
    "(APIServer pid=1) ",
    "ERROR 01-28 03:21:01 [engine.py:387] ",
    "vllm-1  | ",
    "2026-11-23T14:09:11.685300953Z ",
    "2026-11-23T14:09:11.685300953+01:00 stderr F ",
    "Aug 19 18:34:30 vllm vllm[8707]: ",
    "[pod/vllm-0/vllm] ",
    "\x1b[1;36mvllm-1  | \x1b[0m(APIServer pid=1) ERROR 01-28 03:21:01 [engine.py:387] ",
]


@pytest.mark.parametrize("before", PREFIXES)
def test_a_line_is_read_without_what_stands_before_it(before: str) -> None:
    assert texts(f"{before}ValueError: odd") == ["ValueError: odd"]


@pytest.mark.parametrize("before", PREFIXES)
def test_the_value_that_pydantic_refuses_is_on_the_line_of_its_headline(before: str) -> None:
    log = "\n".join(before + line for line in (HEADLINE, "gpu_memory_utilization", REFUSED, MORE, "", "after"))
    assert f"{HEADLINE}: gpu_memory_utilization: {REFUSED.strip()}" in texts(log)


def test_each_of_several_refused_values_has_a_line_of_its_own() -> None:
    headline = HEADLINE.replace("1 validation error", "2 validation errors")
    log = "\n".join(
        (headline, "block_size", "  Input should be 8 [type=basic_error, input_value=7]", MORE, "dtype", REFUSED, "x")
    )
    assert texts(log)[:2] == [
        f"{headline}: block_size: Input should be 8 [type=basic_error, input_value=7]",
        f"{headline}: dtype: {REFUSED.strip()}",
    ]
    assert texts(log)[-1] == "x"


def test_a_headline_without_values_stands_alone_and_what_follows_it_is_kept() -> None:
    log = f"{HEADLINE}\n\nTraceback (most recent call last):\nRuntimeError: Engine core initialization failed."
    assert texts(log)[0] == HEADLINE
    assert texts(log)[-1] == "RuntimeError: Engine core initialization failed."


def test_nccls_last_error_is_on_the_line_that_announces_it() -> None:
    assert texts("Last error:\nCuda failure 217 'x'\nLast error:") == [
        "Last error: Cuda failure 217 'x'",
        "Last error:",
    ]


def test_an_exception_is_handled_where_another_came_of_handling_it() -> None:
    log = "KeyError: 'a'\n\nDuring handling of the above exception, another exception occurred:\n\nValueError: b"
    assert read(log) == [Line("KeyError: 'a'", handled=True), Line("ValueError: b")]


def test_the_root_of_a_direct_cause_is_not_handled() -> None:
    log = "OSError: a\n\nThe above exception was the direct cause of the following exception:\n\nValueError: b"
    assert not any(line.handled for line in read(log))


@pytest.mark.parametrize("before", PREFIXES)
def test_an_assertion_without_a_message_is_told_with_its_source(before: str) -> None:
    source = ("    assert param_data.shape == loaded_weight.shape", "           ^^^^^^^^^^", "AssertionError", "after")
    assert "AssertionError: assert param_data.shape == loaded_weight.shape" in texts(
        "\n".join(before + x for x in source)
    )


def test_an_assertion_with_a_message_keeps_it() -> None:
    assert texts("    assert size > 0, 'odd'\nAssertionError: odd") == ["AssertionError: odd"]


def test_a_thread_that_reports_usage_ends_nothing() -> None:
    log = (
        "Exception in thread Thread-2 (_report_usage_worker):\nTraceback:\nPermissionError: [Errno 13] x\nValueError: y"
    )
    assert texts(log) == ["Traceback:", "ValueError: y"]


@pytest.mark.parametrize(
    "line",
    [
        "'HTTPSConnectionPool(host='huggingface.co', port=443): Read timed out.' thrown while requesting HEAD https://x",
        "Retrying in 1s [Retry 1/5].",
        "Ignored error while writing commit hash to /x: [Errno 30] Read-only file system: '/x'.",
    ],
)
def test_what_is_tried_again_is_passed_over(line: str) -> None:
    assert texts(line) == []


def test_a_warning_of_python_is_no_cause_but_torchs_that_it_finds_no_gpu() -> None:
    assert [line.handled for line in read("/x/y.py:12: FutureWarning: odd\nUserWarning: odd")] == [True, True]
    assert not read("/x/y.py:12: UserWarning: CUDA initialization: odd")[0].handled


@pytest.mark.parametrize("before", PREFIXES)
def test_why_no_kernel_fits_is_on_the_line_that_says_so(before: str) -> None:
    headline = "ValueError: Failed to find a kernel that can implement the WNA16 linear layer. Reasons: "
    reasons = (
        "MacheteLinearKernel requires capability 90, current compute  capability is 89",
        "X cannot implement due to: y",
    )
    log = "\n".join(before + line for line in (headline, *reasons, "RuntimeError: after"))
    assert texts(log) == [f"{headline}{'; '.join(reasons)}", "RuntimeError: after"]


def test_what_xformers_lacks_is_kept_though_it_is_indented_like_source() -> None:
    headline = "NotImplementedError: No operator found for `memory_efficient_attention_forward` with inputs:"
    lacks = "requires device with capability > (8, 0) but your GPU has capability (7, 5) (too old)"
    log = f"{headline}\n     query : shape=(1, 577)\n`fa2F@v2.5.6-pt` is not supported because:\n    {lacks}\n    bf16"
    assert texts(log) == [f"{headline} {lacks}"]
    assert texts(headline) == [headline]


@pytest.mark.parametrize(
    "note",
    [
        "host:1:1 [0] NCCL INFO ncclCommInitRank comm 0x26ba rank 3 nranks 4 - Init COMPLETE",
        "host:1:1 [0] NCCL INFO NET/Plugin : dlerror=libnccl-net.so: cannot open shared object file: No such file",
        "[2023-11-29 22:29:33,093] torch._dynamo.convert_frame: [WARNING] InvalidCxxCompiler: No working C++ compiler",
        "[rank3]:[W719 14:32:43.608695024 TCPStore.cpp:106] [c10d] sendBytes failed: Broken pipe",
        "[rank3]:[W1119 14:32:43.608695024 TCPStore.cpp:106] [c10d] sendBytes failed: Broken pipe",
    ],
)
def test_a_note_of_nccl_or_torch_is_passed_over(note: str) -> None:
    assert texts(f"{note}\nValueError: odd") == ["ValueError: odd"]
