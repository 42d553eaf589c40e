"""Why a model or a step of Docker failed, read from its own words: a code, what to do, and the change that heals it.

What is known stands in `tables` (TOML, one row per cause), which people can read and other engines extend.
`log.diagnose` reads what a dead instance wrote, `docker.read` what a Docker daemon said. The agent uses both;
`muster explain --log` runs the first on any file. docs/adr/0031 says why it is data.
"""

from muster.diagnostics.log import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
