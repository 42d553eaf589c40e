"""The wire: what workers, operators and the control plane say to each other.

Both artifacts carry this package: the Lambda function and the wheel for GPU hosts. It imports neither
AWS nor Docker, so that either side can be read, tested and installed without the other.

- `messages`: what a worker sends and receives.
- `resources`: what an operator sends and receives.
- `lifecycle`: the states of deployments and operations, and the moves between them.
- `errors`: every error code and its HTTP status.
- `endpoints`: every route, who may call it, and the types above that it takes and answers with.
- `openapi`: the document made from all of these.
- `structs`: what a process with threads does to them first.
"""
