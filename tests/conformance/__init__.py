"""A black-box suite, written from the protocol's two documents alone.

Nothing here imports the product. Its helpers in tests/fixtures do not either: http_client, http_workers, routes, serve,
served, waiting. Every test speaks HTTP with a server that runs as its own process or, when MUSTER_URL is set, with one
that runs already (MUSTER_ADMIN_KEY and MUSTER_REGISTRATION_TOKEN then contain its secrets). The name of a test is the
sentence of the documents that it checks.
"""
