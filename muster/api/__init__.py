"""The wire: the messages between workers, operators, and the control plane.

Both artifacts carry this package: the Lambda function and the wheel for GPU hosts. It imports neither
AWS nor Docker, so that either side can be read, tested and installed without the other.

| module | what it owns |
|---|---|
| `messages` | what a worker sends and receives |
| `resources` | what an operator sends and receives |
| `gateways`, `tickets` | what gateways send and receive; how a worker shows a gateway who it is |
| `lifecycle` | the states of deployments and operations, and the moves between them |
| `errors` | every error code and its HTTP status |
| `endpoints` | every route, who may call it, and its types |
| `openapi` | the document made from all of these |
| `conditions`, `crash_loops` | what a host cannot do; crash loops in words |
| `addresses`, `resolving` | where a worker's address may lead |
| `connection` | why a request had no answer |
| `credentials` | credentials in `config` |
| `usage` | a heartbeat's figures as bytes |
| `sizes` | lists that fit into a request or an item |
| `structs`, `compat` | msgspec in a process with threads; what Python 3.10 lacks |
| `version` | the release and the distribution's name |
"""
