"""How a host becomes a worker, and stays one.

| module | what it owns |
|---|---|
| `registration` | a new worker, the same worker again, a name that changes hands |
| `admission` | the rules that let a client register a name that exists |
| `heartbeat` | one conditional write, and the worker's commands |
| `liveness` | the sweep of each minute: what silence means |
| `admin` | what operators do with workers: label, drain, declare lost, remove |

Imports `reconcile`, `deployments`, `scheduling`, `auth`, `fleet`, and `store`.
"""
