"""Operations that were accepted: each is there once, with its result, on good disks and on full ones."""

from __future__ import annotations

from agent.crew import Memory
from chalicelib.contract.messages import DeleteImage, Result
from tests.fixtures.journals import BIG


def test_full_disk_still_takes_what_frees_it(full: Memory) -> None:
    assert full.ledger.accept(DeleteImage("o1", 60, BIG), 0) is None
    full.ledger.begin("o1")
    full.ledger.finish("o1", Result("succeeded"))
    assert full.spool.first() is not None
