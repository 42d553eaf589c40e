"""What kills models, by the words that it leaves in a log, and what to do about each: a table, which `crash` reads.

The texts are those of vLLM 0.2 to 0.32, PyTorch, CUDA, NCCL, huggingface_hub, Docker and the NVIDIA container runtime;
tests/agent/vllm_logs holds samples, each with its source.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Cause(NamedTuple):
    error_code: str
    permanent: bool
    pattern: re.Pattern[str]
    advice: str


def _cause(error_code: str, permanent: bool, pattern: str, advice: str) -> Cause:
    return Cause(error_code, permanent, re.compile(pattern), advice)


_NO_HUB = (
    "The hub cannot be reached and the weights are not in the cache: check the host's network, HF_ENDPOINT and "
    "proxy variables, or deploy a local path."
)

NOT_EXECUTED = (
    "The host cannot execute the program: check `image` (its entry point, and the CPU architecture that it was built "
    "for), or the agent's --vllm-command for processes."
)

INSTALL_NVIDIA_RUNTIME = (
    "apt-get install -y nvidia-container-toolkit && nvidia-ctk runtime configure --runtime=docker"
    " && systemctl restart docker"
)
"""NVIDIA's own way (Container Toolkit, Installing); running containers end when the daemon restarts."""

# Of two rows that fit one line the upper wins, and of two rows of one code the upper gives the advice.
CAUSES: tuple[Cause, ...] = (
    _cause(
        "SHM_TOO_SMALL",
        True,
        r"Insufficient space in /dev/shm|shared memory \(shm\)|No space left on device.{0,20}/dev/shm"
        r"|/dev/shm\S*.{0,40}No space left on device|while creating shared memory segment|posix_fallocate failed"
        r"|unable to write to file </torch|shared memory object <.*No space left"
        r"|out of shared memory|\bSIGBUS\b|(?:Fatal Python error|signal): Bus error"
        r"|^Bus error|proc\(s\): \{[^}]*: -7\b",
        "Too little shared memory: give the host's /dev/shm more, or its containers more (--shm-size).",
    ),
    _cause(
        "DRIVER_TOO_OLD",
        True,
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient|cudaErrorInsufficientDriver"
        r"|unsatisfied condition: (?:cuda|driver)|forward compatibility was attempted on non supported HW"
        r"|unsupported display driver / cuda driver combination|PTX was compiled with an unsupported toolchain",
        "The host's NVIDIA driver is older than this vLLM needs: update the driver, or choose an older `image`.",
    ),
    _cause(
        "GPU_UNAVAILABLE",
        True,
        r"no kernel image is available for execution|GPUs with compute capability below \d\S* are not supported",
        "This `image` has no code for this GPU's architecture: choose another image, or another worker.",
    ),
    _cause(
        "GPU_UNAVAILABLE",
        False,
        r"could not select device driver|unknown or invalid runtime name: nvidia"
        r"|nvidia-container-runtime.{0,40}not found",
        f"Docker has no NVIDIA runtime: install it with `{INSTALL_NVIDIA_RUNTIME}`.",
    ),
    _cause(
        "GPU_UNAVAILABLE",
        False,
        r"system not yet initialized|cudaErrorSystemNotReady",
        "The GPUs' NVLink switches are not up: start nvidia-fabricmanager, in the driver's own version.",
    ),
    _cause(
        "GPU_UNAVAILABLE",
        False,
        r"No CUDA GPUs are available|no CUDA-capable device is detected|Failed to infer device type"
        r"|Device string must not be empty|invalid device ordinal|device\(s\) is/are busy or unavailable|GPU is lost"
        r"|fallen off the bus|uncorrectable ECC error|nvidia-container-cli: |[Dd]river/library version mismatch"
        r"|[Dd]river [Nn]ot [Ll]oaded|CUDA unknown error|[Ff]ound no NVIDIA driver|NVMLError_\w+: "
        r"|CUDA driver initialization failed|Error 999: unknown error|ImportError: libcuda\.so"
        r"|CDI device injection failed|unresolvable CDI devices"
        r"|Failed to initialize NVML|Torch not compiled with CUDA enabled",
        "The GPU cannot be used: check `nvidia-smi` on the host, and that its containers are given GPUs.",
    ),
    _cause(
        "HOST_OUT_OF_MEMORY",
        False,
        r"DefaultCPUAllocator: (?:can't allocate|not enough) memory|[Cc]annot allocate memory|^MemoryError\b"
        r"|std::bad_alloc|Too large swap space|low on memory|ray\.exceptions\.OutOfMemoryError"
        r"|proc\(s\): \{[^}]*: -9\b|oom-kill|Out of memory: Killed process|less than desired CPU memory utilization",
        "The host ran out of memory: free some, lower --swap-space or --cpu-offload-gb, or use another worker.",
    ),
    _cause(
        "CUDA_OUT_OF_MEMORY",
        True,
        r"No available memory for the cache blocks",
        "The weights leave no GPU memory for the cache: raise --gpu-memory-utilization, lower --max-model-len, "
        "or spread the model over more `gpus`.",
    ),
    _cause(
        "CUDA_OUT_OF_MEMORY",
        False,
        r"less than desired GPU memory utilization",
        "Something else uses the GPU's memory: end it, or lower --gpu-memory-utilization.",
    ),
    _cause(
        "CUDA_OUT_OF_MEMORY",
        False,
        r"CUDA out of memory|CUDA (?:driver )?error: out of memory|torch(?:\.cuda)?\.OutOfMemoryError|HIP out of memory"
        r"|CUBLAS_STATUS_ALLOC_FAILED|CUDA_ERROR_OUT_OF_MEMORY|[Cc]uda failure (?:\d+ )?'out of memory'"
        r"|cudaErrorMemoryAllocation",
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
        r"not in the authorized list|awaiting a review|rejected by the repo"
        r"|GatedRepoError: 403|403 Client Error.*(?:huggingface|gated)",
        "The model is gated, and the license was not accepted (or not yet granted) for the owner of this HF_TOKEN: "
        "ask for access on the model's page.",
    ),
    _cause(
        "MODEL_GATED",
        True,
        r"GatedRepoError\b|Cannot access gated repo|trying to access a gated repo|Access to model \S+ is restricted"
        r"|Repo model \S+ is gated|Invalid user token|Invalid credentials in Authorization header",
        "The model is gated, and there is no valid token: set HF_TOKEN in the deployment's `env` or on the host.",
    ),
    _cause(
        "MODEL_NOT_FOUND",
        True,
        r"HFValidationError: |Repo id must be in the form|RepositoryNotFoundError\b|Repository Not Found for url"
        r"|is not a local folder and is not a valid model identifier|Invalid repository ID or local directory"
        r"|RevisionNotFoundError\b|is not a valid git identifier|does not appear to have a file named config\.json"
        r"|Incorrect path_or_model_id|Can't load the (?:configuration|tokenizer|model) |[Nn]o config file found"
        r"|No supported config format found|Cannot find any model weights"
        r"|[Nn]o such file or directory: \S*(?:config\.json|"
        r"\.safetensors|tokenizer\S*\.json)|Cannot find any of \[.{0,60}config\.json",
        "There is no such model: check `model` (and --revision). A private one needs HF_TOKEN; a folder must be there.",
    ),
    _cause(
        "CACHE_UNUSABLE",
        False,
        r"^(?!Ignored error ).*Permission denied: ['\"][^'\"]{0,500}(?:huggingface|/hub\b|models--|\.safetensors|\.gguf"
        r"|config\.json|tokenizer)",
        "The weights or their folder belong to another user: on the host, `ls -ln` shows the owner of that path; "
        "`chown -R` it to the user that the model runs as, or give the agent another HF_HOME (`join.sh --models`).",
    ),
    _cause(
        "CACHE_UNUSABLE",
        False,
        r"^(?!Ignored error ).*(?:Read-only file system: ['\"][^'\"]{0,500}(?:huggingface|/hub\b|models--)"
        r"|\[Errno 116\] Stale file handle)",
        "The file system with the weights is read-only, or lost the file: see `dmesg` on the host, and remount it.",
    ),
    _cause(
        "HUB_UNREACHABLE",
        False,
        r"We couldn't connect to 'https?://|LocalEntryNotFoundError\b|OfflineModeIsEnabled\b|outgoing traffic has been"
        r" disabled|(?:huggingface\.co|hf-mirror|/hub/|/resolve/).*(?:Max retries exceeded|Read timed out|timed out"
        r"|Connection refused)|(?:5\d\d Server|429 Client) Error.*(?:huggingface|hf\.co|/resolve/|/api/models/)"
        r"|CAS service error : (?!IO)|Error retrieving file list: .*(?:\[Errno -\d\]|onnection|timed out)",
        _NO_HUB,
    ),
    _cause(
        "PORT_IN_USE",
        False,
        r"[Aa]ddress already in use|EADDRINUSE|port is already allocated",
        "Something else listens on the port: choose another config.port, or none.",
    ),
    _cause(
        "ADDRESS_MISSING",
        False,
        r"\[Errno 99\]",  # not torch's warnings, which say "errno: 99"
        "The host lost the address that the model was to listen at: it starts again when the address is back.",
    ),
    _cause(
        "DISK_FULL",
        False,
        r"[Nn]o space left on device|[Dd]isk quota exceeded|\[Errno 28\]|os error 28\b",
        "The disk is full: prune, or delete models and images.",
    ),
    _cause(
        "INVALID_CONFIG",
        True,
        # The line of an init process (tini, catatonit, dumb-init) or of the runtime, behind a collector's time or name.
        r"\[FATAL tini \(\d+\)\] exec |\[dumb-init\] .{1,1000}: (?:No such file|Permission denied|Exec format error)"
        r"|\bcatatonit[: ].{0,40}(?:exec|spawn)|exec user process caused"
        r"|^(?:\S{1,60}\s{1,4}(?:\| )?)?exec \S{1,1000}: "
        r"(?:exec format error|no such file or directory|permission denied|is a directory)$",
        NOT_EXECUTED,
    ),
    _cause(
        "INVALID_CONFIG",
        True,
        r"(?:python[\d.]*|ModuleNotFoundError): No module named '?vllm'?$",
        "There is no vLLM for this Python: check `image`, or the agent's --vllm-command for processes.",
    ),
    _cause(
        "INVALID_CONFIG",
        True,
        r": error: (?:unrecognized arguments|argument -|ambiguous option|the following arguments are required)",
        "vLLM does not take this flag or value: check `config` against the vLLM version of the image.",
    ),
    _cause(
        "INVALID_CONFIG",
        True,
        r"the (?:option|argument) `trust_remote_code=True`|using the `--trust-remote-code` flag",
        "The model brings code of its own: set --trust-remote-code if you trust it.",
    ),
    _cause(
        "INVALID_CONFIG",
        True,
        r"must be divisible by|is not divisible by|larger than the number of available GPUs"
        r"|less than or equal to the number of visible devices|exceeds the total number of available GPUs",
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
        r"does not recognize this architecture|[Mm]odel architectures? \[.*(?:not supported|failed to be inspected)"
        r"|has no vLLM implementation|are not supported for now"
        r"|Unrecognized model in \S+ Should have",
        "This vLLM does not know the model's architecture: choose a newer `image`.",
    ),
    _cause(
        "INVALID_CONFIG",
        True,
        r"[Uu]nknown quantization method|[Qq]uantization method.*(?:does not match|not supported)"
        r"|not supported for quantization method|max_num_batched_tokens \(\d+\) (?:is smaller|must be)"
        r"|invalid (?:tool call|reasoning) parser|[Cc]hat template .*(?:does not exist|failed to be opened)"
        r"|Cannot find the config file for|enable-auto-tool-choice requires"
        r"|LoRA rank \d+ is greater than",
        "vLLM refuses this configuration: check `config` against the model and the vLLM version of the image.",
    ),
    _cause(
        "REGISTRY_UNAUTHORIZED",
        True,
        r"\bunauthorized: \w|no basic auth credentials",
        "The registry wants a login that this host does not have: log in there as the agent's user (docker login).",
    ),
    _cause(
        "IMAGE_NOT_FOUND",
        True,
        r"manifest (?:for \S+ not found|unknown)|pull access denied for|No such image",
        "There is no such image: check `image`, its tag and the registry.",
    ),
    _cause(
        "REGISTRY_UNREACHABLE",
        False,
        r"Error response from daemon: .*(?:no such host|i/o timeout|connection refused|TLS handshake|awaiting headers"
        r"|toomanyrequests|x509|server misbehaving|network is unreachable)",
        "The registry cannot be reached: check the host's network and the daemon's proxy.",
    ),
)

LAST_RESORTS: tuple[Cause, ...] = (
    _cause(
        "INVALID_CONFIG",
        True,
        r"\d validation errors? for \w*(?:Config|Args)\b|^ValueError: .*(?<!\S)[`']?--[a-z]{3}",
        "vLLM refuses this configuration: check `config` against the model and the vLLM version of the image.",
    ),
    _cause(
        "HUB_UNREACHABLE",
        False,
        r"^(?:\w+\.)*(?:ConnectError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|MaxRetryError): ",
        _NO_HUB,
    ),
    _cause(
        "START_STALLED",
        False,
        r"[Tt]imed out waiting for (?:engine|READY)|Did not receive response from front-end process within",
        "vLLM itself gave up waiting for its own processes: see whether the disk that the weights are on is slow.",
    ),
)
"""They come with a more telling line, mostly; alone they must do."""
