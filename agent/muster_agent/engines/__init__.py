"""The only place that knows Docker or processes.

| module | what it owns |
|---|---|
| `base` | what every engine does, as a protocol, and its types |
| `labels` | the name and the labels of an instance |
| `ports` | which port is free |
| `log_lines` | log lines with their times, and where a reader left off |
| `docker` | models as containers |
| `process` | models as plain processes |

Imports `state` and `host`.
"""
