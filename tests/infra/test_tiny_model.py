"""The tiny model's shape, by libraries that only note what they are asked for: the real ones are gigabytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import ROOT

NOTING = """
import json, os

class Noting:
    def __init__(self, *given, **named):
        self.given, self.named = given, named
    def save_pretrained(self, folder):
        with open(os.path.join(folder, type(self).__name__), "w") as file:
            json.dump(self.named | {"of": [each.named for each in self.given]}, file, default=lambda other: other.given)

def __getattr__(name):
    return type(name, (Noting,), {})
"""


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Any]:
    """What the program saved, by the class that it saved it with."""
    (tmp_path / "libraries").mkdir()
    (tmp_path / "model").mkdir()
    (tmp_path / "libraries" / "transformers.py").write_text(NOTING)
    (tmp_path / "libraries" / "torch.py").write_text("def manual_seed(seed): pass\n")
    within = "class _Module:\n    def __getattr__(self, name):\n        return type(name, (Noting,), {})\n"
    modules = "models = pre_tokenizers = _Module()\n"
    (tmp_path / "libraries" / "tokenizers.py").write_text(NOTING + within + modules)
    command = [sys.executable, str(ROOT / "infra" / "tiny_model.py"), str(tmp_path / "model")]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "libraries"), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(command, env=environment, check=True)
    return {each.name: json.loads(each.read_text()) for each in (tmp_path / "model").iterdir()}


def test_model_and_tokenizer_are_saved_in_the_folder(made: dict[str, Any]) -> None:
    assert made.keys() == {"LlamaForCausalLM", "PreTrainedTokenizerFast"}


def test_the_tokenizer_has_a_word_for_each_row_of_the_models_vocabulary(made: dict[str, Any]) -> None:
    (config,) = made["LlamaForCausalLM"]["of"]
    ((model,),) = (made["PreTrainedTokenizerFast"]["tokenizer_object"],)
    words = model[0]
    assert sorted(words.values()) == list(range(config["vocab_size"]))
    special = (words["<unk>"], words["<s>"], words["</s>"])
    assert special == (0, config["bos_token_id"], config["eos_token_id"])
    assert "messages" in made["PreTrainedTokenizerFast"]["chat_template"]


def test_a_head_has_as_many_values_as_vllm_computes_on_a_processor(made: dict[str, Any]) -> None:
    (config,) = made["LlamaForCausalLM"]["of"]
    assert config["hidden_size"] // config["num_attention_heads"] == 32
    assert config["num_key_value_heads"] == config["num_attention_heads"]
