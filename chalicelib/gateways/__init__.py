"""Gateways: who they are, what they are told, and what they report.

| module | what it owns |
|---|---|
| `caller_keys` | the API keys of callers, as gateways need them |
| `records` | the gateways that registered lately |
| `routes` | which models serve where, for gateways |
| `selectors` | which workers a gateway serves |
| `ticket_keys` | the master keys that tickets are signed under |
| `usage_sums` | what callers used, as gateways' ledgers add it up |
| `worker_gateways` | the gateways of a worker, with tickets |

Imports `auth`, `deployments`, `fleet`, `scheduling`, `store`, and `telemetry`.
"""
