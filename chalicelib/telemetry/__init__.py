"""What is measured and logged.

| module | what it owns |
|---|---|
| `metrics` | the families that Prometheus reads |
| `exposition` | Prometheus' text format |
| `discovery` | where Prometheus finds the models' own metrics |
| `access_log` | one JSON line for each request, for CloudWatch |

Imports `deployments`, `scheduling`, `fleet`, and `store`.
"""
