"""All structs are read before threads use them: two threads that read one at once crash the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from msgspec import Struct

from muster.api import structs
from muster.api.messages import Deploy, Heartbeat, PullImage

THREADS_THAT_DECODE_EVERYTHING_AT_ONCE = """
import threading
from msgspec import Struct
from msgspec.json import Decoder
from muster.api import endpoints, structs
structs.read_structs()
together = threading.Barrier(8)
def decode():
    together.wait()
    for each in structs._below(Struct):
        Decoder(each)
threads = [threading.Thread(target=decode) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
"""


def test_every_struct_is_found_also_those_of_subclasses() -> None:
    class Base(Struct):
        pass

    class Derived(Base):
        pass

    found = set(structs._below(Struct))
    assert {Base, Derived, Heartbeat, Deploy, PullImage} <= found


def test_threads_may_use_all_structs_at_once_after_they_were_read() -> None:
    done = subprocess.run(
        [sys.executable, "-c", THREADS_THAT_DECODE_EVERYTHING_AT_ONCE],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
