"""The release, and the name under which people install it: the one source of both, for every part of Muster."""

from __future__ import annotations

VERSION = "0.2.0.dev0"
DISTRIBUTION = "muster-gpu"
"""On a package index; the commands are `muster` and `muster-agent`. Another project has the name of the first."""
WHEEL = f"{DISTRIBUTION.replace('-', '_')}-*.whl"
"""The files of which one is the distribution, as a glob."""
