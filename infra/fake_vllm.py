"""A stand-in for `vllm serve` where there is no vLLM. It has no model, and says so in its log and in every answer.

    python infra/fake_vllm.py MODEL --host 127.0.0.1 --port 8001 …        or: python infra/fake_vllm.py --model MODEL …

It takes vLLM's own flags and refuses unknown ones as vLLM does, logs vLLM's lines in vLLM's order, and has vLLM's
endpoints: /health, /version, /metrics, /v1/models, /v1/chat/completions and /v1/completions (`stream` too), behind
VLLM_API_KEY or --api-key. An answer holds the prompt, the model's name and the process id. To make it misbehave:

    STANDIN_LOAD_SECONDS=0.5      how long it loads before it listens
    STANDIN_CRASH=cuda_oom        while it loads: a key of `CRASHES`, `exit0`, `exitN`, or `killed` (SIGKILL)
    STANDIN_CRASH_AFTER=5         the same, that many seconds after it listens
    STANDIN_STALL=1               loads for ever
    STANDIN_HANG_AFTER=5          listens, and answers nothing from then on
    STANDIN_IGNORE_SIGTERM=1      has to be killed
    STANDIN_SHM_MIB=160           how much shared memory it needs; with less it dies as vLLM does
    STANDIN_MAX_MODEL_LEN=131072  the longest context that "the model" has
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NoReturn

VERSION = "0.32.0+standin"
NOTE = "This is Muster's stand-in for vLLM: no model runs here."
MAX_BODY_BYTES = 4 * 1024 * 1024

# vLLM 0.32's flags, as far as people set them. A switch has a --no- form too.
FLAGS = """
text      allowed-local-media-path attention-backend chat-template chat-template-content-format code-revision
text      compilation-config config-format convert device distributed-executor-backend download-dir dtype
text      generation-config guided-decoding-backend hf-overrides hf-token kv-cache-dtype kv-transfer-config
text      limit-mm-per-prompt load-format mm-processor-kwargs model-impl override-generation-config performance-mode
text      quantization reasoning-parser response-role revision rope-scaling root-path runner scheduling-policy
text      speculative-config ssl-certfile ssl-keyfile structured-outputs-config task tokenizer tokenizer-mode
text      tokenizer-revision tool-call-parser uvicorn-log-level
integer   api-server-count block-size data-parallel-size max-cpu-loras max-log-len max-logprobs max-lora-rank
integer   max-loras max-model-len max-num-batched-tokens max-num-seqs max-parallel-loading-workers
integer   max-seq-len-to-capture num-gpu-blocks-override pipeline-parallel-size seed tensor-parallel-size
number    cpu-offload-gb gpu-memory-utilization kv-cache-memory-bytes rope-theta swap-space
texts     allowed-headers allowed-methods allowed-origins api-key lora-modules middleware served-model-name
switch    async-scheduling disable-custom-all-reduce disable-log-requests disable-log-stats disable-sliding-window
switch    disable-uvicorn-access-log enable-auto-tool-choice enable-chunked-prefill enable-expert-parallel
switch    enable-log-requests enable-lora enable-prefix-caching enable-reasoning enable-server-load-tracking
switch    enable-sleep-mode enforce-eager return-tokens-as-token-ids skip-tokenizer-init trust-remote-code
switch    use-tqdm-on-load
"""
KINDS: Mapping[str, dict[str, Any]] = {
    "text": {},
    "integer": {"type": int},
    "number": {"type": float},
    "texts": {"nargs": "+"},
    "switch": {"action": argparse.BooleanOptionalAction},
}
SHORT = {"tensor-parallel-size": "-tp", "pipeline-parallel-size": "-pp", "data-parallel-size": "-dp"}

CRASHES: Mapping[str, str] = {
    "cuda_oom": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB. GPU 0 has a total "
    "capacity of 79.25 GiB of which 100.88 MiB is free.",
    "no_kv_cache": "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when "
    "initializing the engine.",
    "shm": "RuntimeError: Insufficient space in /dev/shm for shared-memory allocation: 160 MiB required, 64 MiB free.",
    "driver": "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).",
    "no_gpu": "RuntimeError: No CUDA GPUs are available",
    "gated": "OSError: You are trying to access a gated repo.",
    "hub": "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the "
    "cached files.",
    "disk_full": "OSError: [Errno 28] No space left on device",
}


def main(arguments: list[str]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN if _env("IGNORE_SIGTERM") else _end)
    signal.signal(signal.SIGINT, _end)
    options = parsed(arguments)
    log(f"vLLM API server version {VERSION}")
    log(NOTE)
    log(f"non-default args: {_non_default(options)}")
    _check(options)
    _load()
    server = Server(options)
    log(f"Starting vLLM server on http://{options.host or '0.0.0.0'}:{options.port}")
    print(f"INFO:     Started server process [{os.getpid()}]", flush=True)
    print("INFO:     Application startup complete.", flush=True)
    if after := _env("CRASH_AFTER"):
        threading.Timer(float(after), crash, [_env("CRASH") or "exit0"]).start()
    server.serve_forever()


def log(text: str, level: str = "INFO") -> None:
    now = time.strftime("%m-%d %H:%M:%S")
    print(f"(APIServer pid={os.getpid()}) {level} {now} [fake_vllm.py:1] {text}", flush=True)


def crash(kind: str) -> NoReturn:
    """Dies as vLLM does: the cause first, in the engine's traceback, and then that the engine failed."""
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind.startswith("exit"):
        os._exit(int(kind.removeprefix("exit") or 1))
    log("EngineCore failed to start.", "ERROR")
    log("Traceback (most recent call last):", "ERROR")
    log(CRASHES.get(kind, f"RuntimeError: {kind}"), "ERROR")
    print("Traceback (most recent call last):")
    print("RuntimeError: Engine core initialization failed. See root cause above.", flush=True)
    os._exit(1)


def _env(name: str) -> str:
    return os.environ.get(f"STANDIN_{name}", "")


def _end(*_: object) -> None:
    print("INFO:     Shutting down", flush=True)
    os._exit(0)


# Flags


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="api_server.py", description=NOTE)
    parser.add_argument("model_tag", nargs="?")
    parser.add_argument("--model")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int, default=8000)
    for kind, *names in map(str.split, FLAGS.strip().splitlines()):
        for name in names:
            parser.add_argument(f"--{name}", *filter(None, [SHORT.get(name)]), **KINDS[kind])
    # vLLM takes underscores for dashes in the names of flags.
    options = parser.parse_args([_dashed(argument) for argument in arguments])
    options.model = options.model_tag or options.model
    if not options.model:
        parser.error("the following arguments are required: model_tag")
    options.names = options.served_model_name or [options.model]
    options.keys = [key for key in (options.api_key or [os.environ.get("VLLM_API_KEY")]) if key]
    return options


def _dashed(argument: str) -> str:
    flag, equals, value = argument.partition("=")
    return flag.replace("_", "-") + equals + value if flag.startswith("--") else argument


def _non_default(options: argparse.Namespace) -> dict[str, Any]:
    hidden = {"names", "keys", "api_key", "hf_token"}
    return {name: value for name, value in vars(options).items() if value is not None and name not in hidden}


def _check(options: argparse.Namespace) -> None:
    """The mistakes that vLLM finds in its configuration, in its words."""
    longest = int(_env("MAX_MODEL_LEN") or 131072)
    if (options.gpu_memory_utilization or 0) > 1:
        _refuse(
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for CacheConfig",
            "gpu_memory_utilization",
            "  Input should be less than or equal to 1",
        )
    if options.model.startswith("/") and not os.path.isdir(options.model):
        form = "Repo id must be in the form 'repo_name' or 'namespace/repo_name'"
        _refuse(f"huggingface_hub.errors.HFValidationError: {form}: '{options.model}'.")
    log("Resolved architecture: StandInForCausalLM")
    if (options.max_model_len or 0) > longest:
        what = f"User-specified max_model_len ({options.max_model_len}) is greater than the derived max_model_len"
        _refuse(
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
            f"  Value error, {what} (max_position_embeddings={longest}).",
        )


def _refuse(*lines: str) -> NoReturn:
    print("Traceback (most recent call last):", *lines, sep="\n", flush=True)
    sys.exit(1)


def _load() -> None:
    seconds = float(_env("LOAD_SECONDS") or 0.5)
    log("Starting to load model")
    time.sleep(seconds)
    _need_shared_memory(int(_env("SHM_MIB") or 0))
    if _env("CRASH") and not _env("CRASH_AFTER"):
        crash(_env("CRASH"))
    while _env("STALL"):
        time.sleep(3600)
    log(f"Loading weights took {seconds:.2f} seconds")
    log(f"init engine (profile, create kv cache, warmup model) took {seconds:.2f} seconds")


def _need_shared_memory(needed: int) -> None:
    """In MiB, as vLLM's check_shm_free_space words it."""
    disk = os.statvfs("/dev/shm")
    free = disk.f_bavail * disk.f_frsize >> 20
    if free < needed:
        what = f"{needed} MiB required, {free} MiB free. Increase /dev/shm (e.g. --shm-size or --ipc=host)."
        crash(f"Insufficient space in /dev/shm for shared-memory allocation: {what}")


# The API


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, options: argparse.Namespace) -> None:
        host = options.host or "0.0.0.0"
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.options = options
        self.since = time.monotonic()
        self.answered = 0
        super().__init__((host, options.port), Handler)

    @property
    def hangs(self) -> bool:
        after = _env("HANG_AFTER")
        return bool(after) and time.monotonic() - self.since >= float(after)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        if not self._admitted():
            return
        options = self.server.options
        if self.path in ("/health", "/ping"):
            self._send(200, b"", "text/plain")
        elif self.path == "/version":
            self._json(200, {"version": VERSION})
        elif self.path == "/v1/models":
            models = [
                {"id": name, "object": "model", "owned_by": "standin", "root": options.model} for name in options.names
            ]
            self._json(200, {"object": "list", "data": models})
        elif self.path == "/metrics":
            counted = f'vllm:request_success_total{{model_name="{options.names[0]}"}} {self.server.answered}\n'
            self._send(200, f"# {NOTE}\n{counted}".encode(), "text/plain")
        else:
            self._json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(min(length, MAX_BODY_BYTES))
        if not self._admitted():
            return
        if self.path not in ("/v1/chat/completions", "/v1/completions"):
            return self._json(404, {"detail": "Not Found"})
        try:
            body = json.loads(raw)
            prompt = _prompt(body)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            return self._error(400, "BadRequestError", f"Not a completion request: {error}")
        name = body.get("model") or self.server.options.names[0]
        if name not in self.server.options.names:
            return self._error(404, "NotFoundError", f"The model `{name}` does not exist.")
        self.server.answered += 1
        chat = self.path == "/v1/chat/completions"
        text = f"{NOTE} Process {os.getpid()} under the name {name} was asked: {prompt}"
        if body.get("stream"):
            has_usage = bool((body.get("stream_options") or {}).get("include_usage"))
            self._stream(_chunks(name, prompt if has_usage else None, text, chat))
        else:
            self._json(200, _completion(name, prompt, text, chat))

    def log_message(self, format: str, *args: Any) -> None:
        print(f"INFO:     {self.client_address[0]}:{self.client_address[1]} - {format % args}", flush=True)

    def _admitted(self) -> bool:
        """Only /v1 needs the key."""
        while self.server.hangs:
            time.sleep(3600)
        keys = self.server.options.keys
        given = self.headers.get("Authorization", "").removeprefix("Bearer ").encode()
        if not keys or not self.path.startswith("/v1") or any(hmac.compare_digest(given, key.encode()) for key in keys):
            return True
        self._json(401, {"error": "Unauthorized"})
        return False

    def _error(self, status: int, kind: str, message: str) -> None:
        self._json(status, {"error": {"message": message, "type": kind, "param": None, "code": status}})

    def _json(self, status: int, body: object) -> None:
        self._send(status, json.dumps(body).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, chunks: Iterator[object]) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")


def _prompt(body: dict[str, Any]) -> str:
    if "messages" not in body:
        return str(body["prompt"])
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def _completion(name: str, prompt: str, text: str, chat: bool) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    head = _head(name, "chat.completion" if chat else "text_completion")
    return {**head, "choices": [choice], "usage": _usage(prompt, text)}


def _usage(prompt: str, text: str) -> dict[str, int]:
    """A word is a token."""
    asked, answered = len(prompt.split()), len(text.split())
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def _chunks(name: str, prompt: str | None, text: str, chat: bool) -> Iterator[dict[str, Any]]:
    """The chunks of an answer; with the prompt, what it cost comes last."""
    head = _head(name, "chat.completion.chunk" if chat else "text_completion")
    for word in text.split(" "):
        piece = {"delta": {"content": f"{word} "}} if chat else {"text": f"{word} "}
        yield {**head, "choices": [{"index": 0, "finish_reason": None, **piece}]}
    ending: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
    yield {**head, "choices": [{"index": 0, "finish_reason": "stop", **ending}]}
    if prompt is not None:
        yield {**head, "choices": [], "usage": _usage(prompt, text)}


def _head(name: str, kind: str) -> dict[str, Any]:
    return {
        "id": f"{'chatcmpl' if 'chat' in kind else 'cmpl'}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": name,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
