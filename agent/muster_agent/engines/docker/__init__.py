"""Models as containers. The daemon's labels are the truth about them; this package is the only importer of `docker`.

| module | what it owns |
|---|---|
| `docker_engine` | containers, and the whole engine put together |
| `images` | images: listed, pulled, deleted |
| `daemon`, `docker_client` | the connection, and Docker's failures as error codes |
| `registry` | what a registry says of an image before it is pulled |
| `progress` | a pull's many layers as one number |
| `stream` | the daemon's events, as they come |
| `logs` | a container's log as lines |
| `entrypoint` | the model in the form that an image's program takes it |
| `inspect_cache` | what is known of running containers without asking again |
| `prune` | what may be thrown away |

`docker_engine` imports the others; none of them imports it.
"""

from muster_agent.engines.docker.docker_engine import DockerEngine

__all__ = ["DockerEngine"]
