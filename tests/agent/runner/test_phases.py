"""Phases of a start, as real logs tell them."""

from __future__ import annotations

import pytest

from muster.api.messages import Progress
from muster_agent.runner.phases import phase_of
from tests.fixtures.vllm_logs import log

# Of vLLM 0.6 to 0.32, in the order in which one start has them.
LINES = """
INFO 11-23 14:09:18 [model.py:733] Resolved architecture: LlamaForCausalLM | none
(EngineCore pid=23) INFO 11-23 14:09:23 [gpu_model_runner.py:2007] Starting to load model org/model... | loading
INFO 11-23 14:09:24 [weight_utils.py:292] Using model weights format ['*.safetensors'] | loading
Loading safetensors checkpoint shards:  25% Completed; 1/4 [00:00<00:02,  1.45it/s] | loading 1/4
Loading safetensors checkpoint shards: 100% Completed; 4/4 [00:02<00:00,  1.40it/s] | loading 4/4
INFO 11-23 14:09:30 [default_loader.py:262] Loading weights took 2.93 seconds | compiling
INFO 11-23 14:09:31 [gpu_model_runner.py:2032] Model loading took 14.9889 GiB and 3.7 seconds | compiling
INFO 11-23 14:09:40 [backends.py:508] Dynamo bytecode transform time: 6.01 s | compiling
INFO 11-23 14:10:01 [backends.py:183] Compiling a graph for general shape takes 22.10 s | compiling
INFO 11-23 14:10:10 [monitor.py:34] torch.compile takes 28.11 s in total | compiling
INFO 11-23 14:10:12 [gpu_worker.py:227] Available KV cache memory: 53.12 GiB | compiling
Capturing CUDA graph shapes:  40%; 27/67 [00:10<00:15,  2.6it/s] | compiling
INFO 11-23 14:10:40 [core.py:193] init engine (profile, create kv cache, warmup model) took 60.15 seconds | serving
INFO 11-23 14:10:41 [api_server.py:1287] Starting vLLM API server on http://0.0.0.0:8000 | serving
"""


@pytest.mark.parametrize("line", LINES.strip().splitlines())
def test_a_line_of_a_log_is_its_phase(line: str) -> None:
    text, _, wanted = line.rpartition(" | ")
    phase, _, shards = wanted.partition(" ")
    found = phase_of(
        f"INFO Resolved architecture\n{text.replace('; ', ' | ').replace('%;', '%|')}\nINFO something else\n"
    )
    current, _, total = shards.partition("/")
    assert found == (
        None if phase == "none" else Progress(phase, int(current), int(total)) if shards else Progress(phase)
    )


def test_the_last_line_with_a_phase_counts() -> None:
    lines = [line.rpartition(" | ")[0] for line in LINES.strip().splitlines()]
    assert phase_of("\n".join(lines)) == Progress("serving")
    assert phase_of("\r".join(lines[:8])) == Progress("compiling")


def test_a_log_without_a_phase_has_none() -> None:
    assert phase_of(log("badflag")) is None
