"""Commands that run once on a worker, and whose answer somebody waits for.

| module | what it owns |
|---|---|
| `queue` | an operation from its request to its result |
| `wait_limit` | how many requests may wait for workers at once |

Imports `fleet` and `store`.
"""
