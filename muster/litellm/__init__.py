"""A LiteLLM proxy that always has the models that run: `muster gateway sync`.

| module | what it owns |
|---|---|
| `sync_plan` | which models the proxy should have, and what to add and delete; pure |
| `proxy` | LiteLLM's own API |

`proxy` imports `sync_plan`.
"""
