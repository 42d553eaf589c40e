"""Both halves together: the database of tests/server under the real app."""

from tests.server.conftest import database

__all__ = ["database"]
