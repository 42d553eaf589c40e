"""The control plane: what Lambda runs, and what `make serve` runs on one machine.

| room | what it owns |
|---|---|
| `routes` | HTTP: parse a request, call one function of the domain, answer |
| `gateways` | who lets callers reach models, and what they are told |
| `telemetry` | metrics, service discovery for Prometheus, the access log |
| `workers` | how a host becomes a worker and stays one: registration, heartbeat, silence, removal |
| `reconcile` | what a worker reports against what is wanted of it |
| `operations` | commands that run once: pull, prune, logs |
| `deployments` | what operators want, and what they see |
| `scheduling` | which GPUs of which worker a deployment gets |
| `auth` | who calls, and why a credential opens nothing |
| `fleet` | what is known of workers: one, several, or all of them |
| `store` | tables, conditional writes, transactions, timelines |
| `console`, `static` | files: the web page, and what hosts install themselves with |

A room imports rooms below it in this table, and none above; `muster.api` is the only package outside that all may
import. `tests/test_imports.py` has the exact directions.
"""
