"""Why an instance died: its log, exit code and OOM flag read into an error_code that says what to do.

The last line is rarely the cause. vLLM's engine dies in one process, and the traceback of the other, which only says
that the engine died, comes after it. So the log is held against `CAUSES`, the most telling first, and where none fits
the first `…Error:` is shown rather than the last. The texts are those of vLLM 0.6 to 0.32, PyTorch, huggingface_hub
and the NVIDIA container runtime; tests/engines/vllm_logs holds some whole.
"""

from __future__ import annotations

import re
from typing import NamedTuple

EXCERPT_BYTES = 64 * 1024
"""What a crash report carries of a log at most."""

_CAUSE_BYTES = 8 * 1024
_LINE_CHARACTERS = 600


class Diagnosis(NamedTuple):
    """`permanent`: it cannot heal by itself, so it is not to be restarted."""

    error_code: str
    message: str
    permanent: bool


class Cause(NamedTuple):
    error_code: str
    permanent: bool
    pattern: re.Pattern[str]
    advice: str


def _cause(error_code: str, permanent: bool, pattern: str, advice: str) -> Cause:
    return Cause(error_code, permanent, re.compile(pattern), advice)


CAUSES: tuple[Cause, ...] = (
    _cause(
        "SHM_TOO_SMALL",
        True,
        r"Insufficient space in /dev/shm|insufficient shared memory \(shm\)|No space left on device: '/dev/shm",
        "Too little shared memory: give the host's /dev/shm more, or its containers more (--shm-size).",
    ),
    _cause(
        "DRIVER_TOO_OLD",
        True,
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient|unsatisfied condition: cuda"
        r"|forward compatibility was attempted on non supported HW",
        "The host's NVIDIA driver is older than this vLLM needs: update the driver, or choose an older `image`.",
    ),
    _cause(
        "GPU_UNAVAILABLE",
        False,
        r"No CUDA GPUs are available|Failed to infer device type|could not select device driver|invalid device ordinal"
        r"|GPU is lost|CUDA-capable device\(s\) is/are busy|nvidia-container-cli: |Driver/library version mismatch"
        r"|[Dd]river [Nn]ot [Ll]oaded|CUDA unknown error|found no NVIDIA driver|NVMLError_\w+: ",
        "The GPU cannot be used: check `nvidia-smi` on the host, and that its containers are given GPUs.",
    ),
    _cause(
        "CUDA_OUT_OF_MEMORY",
        True,
        r"No available memory for the cache blocks|Available KV cache memory: -",
        "The weights leave no GPU memory for the cache: raise --gpu-memory-utilization, lower --max-model-len, "
        "or spread the model over more `gpus`.",
    ),
    _cause(
        "CUDA_OUT_OF_MEMORY",
        False,
        r"CUDA out of memory|CUDA error: out of memory|OutOfMemoryError: |HIP out of memory|CUBLAS_STATUS_ALLOC_FAILED"
        r"|less than desired GPU memory utilization",
        "Not enough free GPU memory: lower --gpu-memory-utilization, --max-model-len or --max-num-seqs, "
        "spread the model over more `gpus` (--tensor-parallel-size), or end what else uses the GPU.",
    ),
    _cause(
        "CONTEXT_TOO_LONG",
        True,
        r"User-specified max_model_len \(\d+\) is greater than|max seq len \(\d+\) is larger than the maximum number of"
        r"|(?:larger|greater) than the available KV cache memory",
        "The context does not fit the model or the GPU: lower --max-model-len.",
    ),
    _cause(
        "MODEL_GATED",
        True,
        r"not in the authorized list|awaiting a review|403 Client Error.*huggingface",
        "The model is gated, and the licence was not accepted (or not yet granted) for the owner of this HF_TOKEN: "
        "ask for access on the model's page.",
    ),
    _cause(
        "MODEL_GATED",
        True,
        r"GatedRepoError: |Cannot access gated repo|trying to access a gated repo|Access to model \S+ is restricted",
        "The model is gated, and there is no valid token: set HF_TOKEN in the deployment's `env` or on the host.",
    ),
    _cause(
        "MODEL_NOT_FOUND",
        True,
        r"HFValidationError: |Repo id must be in the form|RepositoryNotFoundError: |Repository Not Found for url"
        r"|is not a local folder and is not a valid model identifier|Invalid repository ID or local directory"
        r"|RevisionNotFoundError: |does not appear to have a file named config\.json",
        "There is no such model: check `model` (and --revision). A private one needs HF_TOKEN; a folder must be there.",
    ),
    _cause(
        "HUB_UNREACHABLE",
        False,
        r"We couldn't connect to 'https?://|LocalEntryNotFoundError: "
        r"|Max retries exceeded with url.*huggingface|OfflineModeIsEnabled: ",
        "The hub cannot be reached and the weights are not in the cache: check the host's network, HF_ENDPOINT and "
        "proxy variables, or deploy a local path.",
    ),
    _cause(
        "PORT_IN_USE",
        False,
        r"[Aa]ddress already in use",
        "Something else listens on the port: choose another config.port, or none.",
    ),
    _cause(
        "DISK_FULL",
        False,
        r"No space left on device|Disk quota exceeded|\[Errno 28\]",
        "The disk is full: prune, or delete models and images.",
    ),
    _cause(
        "INVALID_CONFIG",
        True,
        r"unrecognized arguments: |error: argument -|error: the following arguments are required",
        "vLLM does not take this flag or value: check `config` against the vLLM version of the image.",
    ),
    _cause(
        "INVALID_CONFIG",
        True,
        r"trust_remote_code=True|trust-remote-code",
        "The model brings code of its own: set --trust-remote-code if you trust it.",
    ),
    _cause(
        "INVALID_CONFIG",
        True,
        r"must be divisible by (?:the )?tensor parallel size|is not divisible by",
        "The model cannot be split like that: choose another number of `gpus` or --tensor-parallel-size.",
    ),
    _cause(
        "INVALID_CONFIG",
        True,
        r"Bfloat16 is only supported on GPUs",
        "This GPU is too old for bfloat16: set --dtype half.",
    ),
    _cause(
        "INVALID_CONFIG",
        True,
        r"\d+ validation errors? for \w*(?:Config|Args)|are not supported for now|Unknown quantization method",
        "vLLM refuses this configuration: check `config` against the model and the vLLM version of the image.",
    ),
    _cause(
        "HOST_OUT_OF_MEMORY",
        False,
        r"DefaultCPUAllocator: can't allocate memory|Cannot allocate memory|^MemoryError\b|std::bad_alloc",
        "The host ran out of memory: free some, lower --swap-space or --cpu-offload-gb, or use another worker.",
    ),
)

# vLLM's "(EngineCore pid=23) ERROR 11-23 14:09:23 [core.py:1510] " before the text proper.
_PREFIX = re.compile(r"^(?:\([^)\n]{1,80}\) )?(?:[A-Z]{4,8} \d\d-\d\d \d\d:\d\d:\d\d \[[^\]\n]{1,80}\] ?)?")
# The last line of a traceback, or of argparse. Mentions of an error amid a warning do not begin a line.
_ERROR = re.compile(r"(?:[A-Za-z_]\w{0,80}\.){0,12}\w{0,80}(?:Error|Exception)\b: |\S{1,80}: error: ")


def diagnose(log: str, exit_code: int | None, oom_killed: bool) -> Diagnosis:
    """What ended an instance that nobody asked to end: even exit code 0 is an error then."""
    if oom_killed:
        advice = "The kernel killed it for memory: give the host or container more, or lower --swap-space."
        return Diagnosis("HOST_OUT_OF_MEMORY", advice, False)
    lines = log.splitlines()
    for cause in CAUSES:
        for line in lines:
            if cause.pattern.search(line):
                return Diagnosis(cause.error_code, f"{cause.advice} The log says: {_plain(line)}", cause.permanent)
    first = next((line for line in map(_plain, lines) if _ERROR.match(line)), None)
    told = f" The first error in its log: {first}" if first else ""
    return Diagnosis("CONTAINER_FAILED", f"{_ending(exit_code)}{told}", False)


def excerpt(log: str) -> str:
    """The tail of `log`, with the lines around its cause kept where they are far above. At most `EXCERPT_BYTES`."""
    whole = log.encode(errors="replace")
    if len(whole) <= EXCERPT_BYTES:
        return whole.decode()
    tail = _last(whole, EXCERPT_BYTES)
    cause = _cause_line(log)
    if cause is None or cause.encode(errors="replace") in tail:
        return tail.decode()
    around = _around(whole, cause.encode(errors="replace"))
    joint = b"\n[...]\n"
    return (around + joint + _last(whole, EXCERPT_BYTES - len(around) - len(joint))).decode()


def _cause_line(log: str) -> str | None:
    lines = log.splitlines()
    known = (line for cause in CAUSES for line in lines if cause.pattern.search(line))
    first = next((line for line in lines if _ERROR.match(_plain(line))), None)
    return next(known, first)


def _around(whole: bytes, cause: bytes) -> bytes:
    """The cause and what led to it, cut to `_CAUSE_BYTES`."""
    end = whole.index(cause) + len(cause)
    return _last(whole[:end], _CAUSE_BYTES)


def _last(text: bytes, limit: int) -> bytes:
    """The end of `text`, from the start of a line where there is one, else of a character."""
    kept = text[-limit:]
    if len(kept) == len(text):
        return kept
    line = kept.find(b"\n") + 1
    kept = kept[line:] if line and line < len(kept) else kept
    return kept.decode(errors="ignore").encode()


def _plain(line: str) -> str:
    return _PREFIX.sub("", line, count=1).strip()[:_LINE_CHARACTERS]


def _ending(exit_code: int | None) -> str:
    if exit_code is None:
        return "It ended, and nobody saw with which exit code."
    if exit_code == 0:
        return "It ended by itself with exit code 0, as vLLM does when one of its processes was killed."
    if exit_code == 137:
        return "It was killed (exit code 137, SIGKILL): by hand, or by the kernel for memory."
    if exit_code > 128:
        return f"It was ended by signal {exit_code - 128} (exit code {exit_code})."
    return f"It ended with exit code {exit_code}."
