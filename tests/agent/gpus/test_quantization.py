"""Which GPUs a model's quantization runs on."""

from __future__ import annotations

import pytest

from muster_agent.gpus.quantization import capability_text, method


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (b'{"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}', "fp8"),
        (b'{"quantization_config": {"quant_method": "AWQ", "bits": 4}}', "awq"),
        (b'{"quantization_config": {"quant_method": "something new"}}', None),
        (b'{"quantization_config": {}}', None),
        (b'{"quantization_config": null, "model_type": "llama"}', None),
        (b'{"quantization_config": "fp8"}', None),
        (b"[]", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
    ],
)
def test_a_config_names_its_quantization_where_that_is_one_with_a_limit(config: bytes, named: str | None) -> None:
    assert method(config) == named


def test_a_capability_is_told_as_nvidia_writes_it() -> None:
    assert capability_text((7, 5)) == "7.5" and capability_text((12, 0)) == "12.0"
