"""What is known of workers, read by everyone else.

| module | what it owns |
|---|---|
| `workers` | one worker or several: their two items, and whether they are online |
| `capacity` | which GPUs of a worker are free, as the index of free capacity has it |
| `scan` | all workers and deployments at once |
| `conditions` | what workers report that they cannot do |
| `address_claims` | which worker claims which address |
| `bounds` | how far ahead a worker's numbers may be |
| `join_refusals` | the timeline's lines about clients that asked for another's name |

Imports `store`.
"""
