"""What operators want of deployments, and what they see of them.

| module | what it owns |
|---|---|
| `intents` | create, change, start, stop, delete |
| `losses` | what is concluded from a worker's silence |
| `views` | deployments as operators see them |
| `serving` | which instance serves while a newer one comes up |
| `publication` | which endpoints are shown, and to whom |
| `crash_loops` | crash loops as agents report them |

Imports `scheduling`, `auth`, `fleet`, and `store`.
"""
