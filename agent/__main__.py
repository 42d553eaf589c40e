"""`python -m agent` in a checkout, as with release 0.1.0: it is `python -m muster_agent`, which installations have."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    from muster_agent.__main__ import program

    program()
