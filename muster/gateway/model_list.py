"""GET /v1/models: the models that a key may use, as OpenAI's clients read them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from muster.api.gateways import Caller
from muster.gateway.openai_errors import OpenAIError, model_not_found


def allowed(caller: Caller, models: Sequence[str]) -> list[str]:
    """Those of the models that the key may use."""
    return [model for model in models if not caller.models or model in caller.models]


def listed(caller: Caller, models: Sequence[str]) -> bytes:
    return msgspec.json.encode({"object": "list", "data": [_view(model) for model in allowed(caller, models)]})


def one(caller: Caller, models: Sequence[str], model: str) -> bytes:
    """Raises OpenAIError for a model that does not run, or that the key may not use: both look alike."""
    known = allowed(caller, models)
    if model not in known:
        error: OpenAIError = model_not_found(model, known)
        raise error
    return msgspec.json.encode(_view(model))


def _view(model: str) -> dict[str, object]:
    return {"id": model, "object": "model", "created": 0, "owned_by": "muster"}
