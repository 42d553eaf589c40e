"""What runs once: pulls, prunes, logs, disk usage.

| module | what it owns |
|---|---|
| `executor` | each operation once, its result journaled before it is sent |
| `handlers` | what each type of operation does |
| `disk` | the folders that fill up, and how full their disks are |

Imports `runner` and every room below it.
"""
