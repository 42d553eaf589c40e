"""HTTP/1.1 to models, by whoever is beside them: an agent on the host, or a gateway that reaches a pinned address.

| module | what it owns |
|---|---|
| `model_connection` | one connection: a request is built anew, an answer is taken apart |
| `model_pool` | connections that are kept for the next request |
"""
