"""What survives a crash: the journal, and the folder that it lies in.

| module | what it owns |
|---|---|
| `db` | the journal: a SQLite file whose changes are on the disk before a call returns |
| `db_file` | the journal's file: opened, checked, upgraded; kept and begun anew if damaged |
| `deployments` | the latest intent for each deployment, and how far the agent is with it |
| `operations` | operations that were accepted, and their results |
| `outbox` | reports and results that wait to be sent |
| `dir` | the folder that one agent holds, and the worker that this agent is |
| `membership` | which worker this folder is, and which workers it was |
| `reserve` | disk space kept back, so that a full disk can be told to free some |
| `state_check` | what is wrong with the folder, with every heartbeat |

Imports `conditions` and `config`.
"""
