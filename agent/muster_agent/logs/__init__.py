"""Logs as operators get them, also of instances that are gone.

| module | what it owns |
|---|---|
| `archive` | the logs of instances that are gone |
| `tail` | the last lines, bounded |
| `redaction` | texts without the credentials that models were given |

Imports `engines` and `state`.
"""
