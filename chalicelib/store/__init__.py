"""Reads and writes of the state in DynamoDB: everything else asks this room.

| module | what it owns |
|---|---|
| `tables` | the seven tables, and what an item of each is |
| `answers` | how DynamoDB's answers become items |
| `items` | consistent reads, conditional writes, transactions, retries |
| `prepared_update` | the update of a heartbeat, whose expressions are written once |
| `slots` | the slots of a worker, and the signal that its next heartbeat must read them |
| `events` | timelines |
| `idempotency` | what an Idempotency-Key made |
| `paging` | pages of a listing |
| `settings` | the control plane's settings, from the environment |
| `times` | epoch seconds to RFC 3339 |

Imports no other room.
"""
