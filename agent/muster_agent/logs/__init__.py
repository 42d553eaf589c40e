"""Logs of running and past instances, as operators get them.

| module | what it owns |
|---|---|
| `archive` | the logs of past instances |
| `tail` | the last lines, bounded |
| `redaction` | texts without the credentials that models were given |

Imports `engines` and `state`.
"""
