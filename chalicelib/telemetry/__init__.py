"""What is measured and logged.

| module | what it owns |
|---|---|
| `fleet_reader` | the whole fleet, brought up to date by what changed since it was read |
| `snapshot` | one reading of the fleet for all that watch it, and what changed since a viewer was last here |
| `metrics` | the families that Prometheus reads |
| `exposition` | Prometheus' text format |
| `discovery` | where Prometheus finds the models' own metrics |
| `access_log` | one JSON line for each request, for CloudWatch |

Imports `deployments`, `scheduling`, `fleet`, and `store`.
"""
