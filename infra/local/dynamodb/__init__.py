"""The embedded DynamoDB: an engine in this process, with SQLite behind it in `serve` and in memory alone in tests.

    PynamoDB ── _make_api_call ──► Client ──► Engine (one lock): plan ──► changes ──► Table
                                      │                                      │
                                      └── waits until it is durable ◄── GroupCommit ──► Store

| module | what it owns |
|---|---|
| `engine` | the tables, the lock, each operation's place, snapshots, and the sweep of what expired |
| `client` | the seam that PynamoDB calls, and answers that wait for the disk or let their caller wait |
| `group_commit` | one transaction and one sync for all changes that come together, and what a failed one undoes |
| `reads`, `writes`, `catalog` | the operations: on items that are read, on items that are written, on tables |
| `capacity` | the units that DynamoDB would charge |
| `table` | items by key, partitions in order, indexes, and what expires |
| `rows` | an item and its size, and which items are in memory as JSON |
| `expressions` | plans: a request's expressions as functions, compiled once |
| `expression_parser`, `reserved_words` | the grammar of expressions, and the names that they must not use |
| `attributes` | the values of attributes: their canonical form, order, and size |
| `stored_items` | items and keys as the store keeps them |
| `refusals` | DynamoDB's errors |

Only `engine` and `stored_items` know the store. `docs/adr/0038` has the reasons.
"""

from infra.local.dynamodb.client import Client, Seen
from infra.local.dynamodb.engine import Engine
from infra.local.dynamodb.group_commit import CommitFailed

__all__ = ["Client", "CommitFailed", "Engine", "Seen"]
