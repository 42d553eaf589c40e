"""Speaks to the control plane.

| module | what it owns |
|---|---|
| `client` | the four requests, and the retry policy: which failures another attempt may mend |
| `backoff` | how long to wait before the next attempt |
| `reporter` | sends what the outbox holds |
| `report_retries` | the retry policy of reports: when the next attempt for each deployment is due |
| `shrink` | smaller versions of a report, for networks that refuse large bodies |
| `lease` | how long the agent may act without contact |
| `cursor` | how far this agent has received commands |
| `cooldown` | when a refused registration is tried again |
| `boot_ids` | the boot ids of this process and its predecessors |
| `clock_check` | whether this host's clock is the control plane's |

Imports `state`, `host`, and `conditions`.
"""
