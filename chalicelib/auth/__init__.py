"""Who calls, and why a credential opens nothing.

| module | what it owns |
|---|---|
| `access` | the caller of a route: a worker on its own routes, or an API key with its role |
| `refusals` | the error for a credential that opens nothing |
| `tokens` | the token check: registration tokens, API keys, and workers' tokens as digests |
| `provisional` | registrations that wait for a worker's silence |

Imports `fleet` and `store`.
"""
