"""What a gateway says when it starts: what it serves, what is missing, and the next step."""

from __future__ import annotations

import time

from muster.api.version import VERSION
from muster.gateway.core import Core
from muster.gateway.trust import State

MODELS_SHOWN = 8


def greeting(core: Core, address: str) -> list[str]:
    """Where it serves. `address` is where the gateway listens."""
    config = core.config
    where = "" if config.url.endswith(f"//{address}") else f", listening on {address}"
    lines = [f"Muster gateway {VERSION} serves {config.url}/v1{where}"]
    if config.selector_text:
        lines.append(f"Only workers with {config.selector_text}")
    return lines


def situation(core: Core, problem: str | None, now: float) -> list[str]:
    """What the first contact with the control plane gave. `problem` is why there was none; `now`: epoch seconds."""
    if core.trust.state is State.REVOKED:
        return []
    if problem is not None and core.trust.contact is None:
        return [f"{problem}. Callers get 503 until the control plane answers; the gateway tries again"]
    if problem is not None and core.trust.state is State.UNREACHABLE:
        return [_alone(core, problem, now), *(_models(core) if core.trust.serves() else [])]
    return [*([f"{problem}; the gateway tries again"] if problem else []), *_models(core), *_next_step(core)]


def _alone(core: Core, problem: str, now: float) -> str:
    contact = core.trust.contact or now
    kept = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(contact))
    if not core.trust.serves():
        return (
            f"{problem}. The kept routes are of {kept}, and older than --offline-for: callers get 503 until it answers"
        )
    return f"{problem}. Serving the routes of {kept} meanwhile"


def _models(core: Core) -> list[str]:
    models = core.table.models()
    if not models:
        return ["No model runs yet: muster deploy MODEL"]
    more = f" and {len(models) - MODELS_SHOWN} more" if len(models) > MODELS_SHOWN else ""
    return [f"{'Model' if len(models) == 1 else 'Models'}: {', '.join(models[:MODELS_SHOWN])}{more}"]


def _next_step(core: Core) -> list[str]:
    if not core.table.current.key_ids:
        return ["Callers need a key: muster keys create my-app --role caller"]
    return [f"Try it: curl {core.config.url}/v1/models -H 'Authorization: Bearer KEY'"]
