"""A black-box suite, written from the protocol's two documents alone.

Nothing here imports the project. Every test talks HTTP to a server that runs as its own process, or, when MUSTER_URL
is set, to one that runs already (MUSTER_ADMIN_KEY and MUSTER_REGISTRATION_TOKEN then name its secrets). A test is named
after the sentence of the documents that it checks.
"""
