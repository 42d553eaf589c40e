"""What exactly to set, where a line has the numbers for it."""

from __future__ import annotations

import pytest

from muster.api.messages import Fix
from muster.diagnostics.fixes import CALCULATIONS
from muster.diagnostics.log import diagnose
from muster.diagnostics.rules import every_rule

NEEDS = (
    "the model's max seq len (4096), (8.0 GiB KV cache is needed, which is larger than the available KV cache memory"
)


@pytest.mark.parametrize(
    ("line", "says", "fix"),
    [
        (f"{NEEDS} (4.0 GiB)", "--max-model-len 2048 fits, about.", Fix({"max_model_len": 2048})),
        (f"{NEEDS} (0.0 GiB)", "Not even a short context fits.", None),
        (f"{NEEDS} (-1.5 GiB)", "Not even a short context fits.", None),
        (NEEDS.replace("8.0", "0.0") + " (0.0 GiB)", "Not even a short context fits.", None),
        (
            "ValueError: Free memory on device cuda:0 (19.77/22.05 GiB) on startup is less than desired GPU memory "
            "utilization (0.9, 19.84 GiB)",
            "--gpu-memory-utilization 0.89 is what was free.",
            Fix({"gpu_memory_utilization": 0.89}),
        ),
        ("Free memory on device cuda:0 (1.77/22.05 GiB) on startup", "something else holds", None),
        ("Free memory on device (0/0 GiB) on startup", "something else holds", None),
        (
            "attention heads (7) must be divisible by tensor parallel size (3)",
            "--tensor-parallel-size 1 divides",
            Fix({"tensor_parallel_size": 1}),
        ),
        (
            "attention heads (0) must be divisible by tensor parallel size (0)",
            "--tensor-parallel-size 1 divides",
            Fix({"tensor_parallel_size": 1}),
        ),
        (
            "RuntimeError: Quantization scheme: Min capability: 80. Current capability: 75.",
            "It needs compute capability 8.0, and this GPU has 7.5.",
            None,
        ),
        (
            "ValueError: max_lora_rank (48) must be one of (8, 16, 32, 64, 128, 256).",
            "Set max_lora_rank=64.",
            Fix({"max_lora_rank": 64}),
        ),
        ("ValueError: max_lora_rank (512) must be one of (8, 16, 32, 64).", "merge it into the model", None),
        ("Minimum capability: 100. Current capability: 89.", "capability 10.0, and this GPU has 8.9.", None),
        (
            "No compiled cutlass_scaled_mm for CUDA device capability: 120",
            "This GPU has compute capability 12.0.",
            None,
        ),
        (
            "No operator found for `memory_efficient_attention_forward` with inputs:\n"
            "    requires device with capability > (8, 0) but your GPU has capability (7, 5) (too old)",
            "capability 8.0, and this GPU has 7.5.",
            None,
        ),
    ],
)
def test_a_calculation_gives_the_setting_that_fits_or_says_that_none_does(
    line: str, says: str, fix: Fix | None
) -> None:
    found = diagnose(line, 1, False)
    assert says in found.message and found.fix == fix


def test_a_number_in_the_line_is_the_setting() -> None:
    for line, fix in (
        ("the estimated maximum model length is 34736.", Fix({"max_model_len": 34736})),
        ("is greater than the derived max_model_len (max_position_embeddings=131072)", Fix({"max_model_len": 131072})),
        ("World size (4) is larger than the number of available GPUs (2) in this node.", Fix(gpus=4)),
        ("ValueError: LoRA rank 64 is greater than max_lora_rank 16.", Fix({"max_lora_rank": 64})),
        ("max_num_seqs (1024) exceeds available Mamba cache blocks (614).", Fix({"max_num_seqs": 614})),
        (
            "Last error: Cuda failure 217 'peer access is not supported between these two devices'",
            Fix(env={"NCCL_P2P_DISABLE": "1"}),
        ),
        ("Value error, max_cpu_loras (1) must be >= max_loras (4)", Fix({"max_cpu_loras": 4})),
        (
            "max_num_batched_tokens (128) must be greater than or equal to max_num_seqs (256).",
            Fix({"max_num_batched_tokens": 256}),
        ),
        (
            "torch.bfloat16 is not supported for quantization method awq. Supported dtypes: [torch.float16]",
            Fix({"dtype": "float16"}),
        ),
        ("torch.OutOfMemoryError: CUDA out of memory.", None),
    ):
        assert diagnose(line, 1, False).fix == fix, line


def test_every_calculation_is_used() -> None:
    assert {each.row.calculate for each in every_rule()} - {None} == set(CALCULATIONS)
