"""The model in the form that an image documents, which its entry point tells.

| entry point | images | the model |
|---|---|---|
| `python3 -m vllm.entrypoints.openai.api_server` | official ones until 2025, some later | `--model MODEL` |
| `vllm serve` | official ones since then | `MODEL`; `--model` is deprecated |
| none, or a script that runs what it is given | those of other makers | `vllm serve MODEL` |
| another program | an owner's own | `--model MODEL` |
"""

from __future__ import annotations

from collections.abc import Sequence
from posixpath import basename

_RUN_THEIR_ARGUMENTS = frozenset(
    {"nvidia_entrypoint.sh", "docker-entrypoint.sh", "tini", "dumb-init", "catatonit", "env"}
)


def command_line(entrypoint: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """Returns `arguments` for a container with this entry point. Without a leading `--model MODEL` nothing changes."""
    if list(arguments[:1]) != ["--model"]:
        return list(arguments)
    by_position = list(arguments[1:])
    words = [basename(word) for word in entrypoint]
    if words[-2:] == ["vllm", "serve"]:
        return by_position
    if words[-1:] == ["vllm"]:
        return ["serve", *by_position]
    if all(word in _RUN_THEIR_ARGUMENTS or word.startswith("-") for word in words):
        return ["vllm", "serve", *by_position]
    return list(arguments)
