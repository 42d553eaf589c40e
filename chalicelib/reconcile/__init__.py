"""What a worker reports against what is wanted of it.

| module | what it owns |
|---|---|
| `reconciler` | a worker's slots against its heartbeat: receipts, contradictions, what to send |
| `reports` | a report about a deployment: whether it is news, and what follows from it |

Imports `deployments`, `operations`, `scheduling`, `fleet`, and `store`.
"""
