"""What a worker reports against what is wanted of it.

| module | what it owns |
|---|---|
| `reconciler` | a worker's slots against its heartbeat: receipts, operations, and the order of the steps |
| `reconcile_run` | one run: what the heartbeat reports, and what was decided so far |
| `client_rules` | what the two kinds of client do, and so what their heartbeats prove |
| `mismatches` | what is stored against what the worker lists |
| `sending` | which commands go out with a heartbeat |
| `worker_state` | the worker's lists, its return, and whether it drains |
| `reports` | a report about a deployment: whether it is news, and what follows from it |

Imports `deployments`, `operations`, `scheduling`, `fleet`, and `store`.
"""
