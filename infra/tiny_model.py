"""Makes a Llama of two layers with random weights and a tokenizer of 512 words, in the layout that vLLM loads. It talks
nonsense. Runs with the Python that vLLM is installed in:

    python infra/tiny_model.py FOLDER
"""

# mypy: ignore-errors
# torch, transformers and tokenizers are vLLM's, and not among this project's own dependencies.
import sys

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 512
TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"


def main(folder: str) -> None:
    torch.manual_seed(0)
    words = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"w{index}": index for index in range(3, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", chat_template=TEMPLATE
    )
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,  # so that a head has 32 values, the fewest that vLLM computes on a CPU
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


if __name__ == "__main__":
    main(sys.argv[1])
