"""Which GPUs of which worker a deployment gets.

| module | what it owns |
|---|---|
| `placement` | the placement rule: pure, from needs and candidates to a place or the reasons why not |
| `scheduler` | placing the deployments that wait: choose, reserve, try again |
| `choice` | which worker and which GPUs a deployment gets |
| `capacity_view` | the same by the index of free capacity, without reading the whole fleet |
| `view_audit` | when the whole fleet is read after all, to correct that index |
| `reservation` | the transaction that gives a deployment its place |
| `gpu_claims` | which deployment holds which GPU: conditional writes |
| `gpu_inventory` | the GPUs that a worker reports, and the timeline's lines about changes |

Imports `fleet` and `store`.
"""
