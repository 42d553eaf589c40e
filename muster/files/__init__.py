"""SQLite files that outlive a release: the agent's journal, and the database of a control plane on one machine.

| module | owns |
|---|---|
| `schema` | the version of a file, its upgrade step by step, and what it must have |
| `sqlite_errors` | which errors mean that a file is damaged, and which that it cannot be written |

It imports nothing of Muster.
"""
