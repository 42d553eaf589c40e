"""Why a model or a step of Docker failed, read from its own words: a code, what to do, and the change that heals it.

What is known stands in `tables` (TOML, one row per cause), which people can read and other engines extend.
`log.diagnose` reads what a dead instance wrote, `docker.read` what a Docker daemon said. The agent uses both;
`muster explain --log` runs the first on any file. docs/adr/0031 says why it is data.

| module | what it owns |
|---|---|
| `tables` | the crash patterns, as TOML |
| `rules` | the table of known causes: what a row says, and how rows are read |
| `log` | from an instance's log, exit code, and OOM flag to a diagnosis |
| `docker` | from the Docker daemon's words to an error code |
| `fixes` | the change that heals it, worked out from the numbers of a line |
| `lines` | the lines of a log that may say why it ended |
| `telling` | the lines that say most, where no rule matches |
| `endings` | how a process ended, by its exit code |
"""

from muster.diagnostics.log import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
