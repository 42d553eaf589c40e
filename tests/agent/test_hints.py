"""What exactly to set, where a log has the numbers for it."""

from __future__ import annotations

import pytest

from agent.hints import hint
from chalicelib.contract.messages import Fix


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
