"""The gateway: one OpenAI-compatible address for every model of the fleet (docs/gateway.md).

| module | what it owns |
|---|---|
| `upstream` | the way to one replica: what the proxy sees of tunnels and direct connections |
"""
