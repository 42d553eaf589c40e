"""Models as containers. The daemon's labels are the truth about them; this package is the only importer of `docker`.

- `daemon`: the connection, and Docker's failures as error codes.
- `engine`: containers, and the whole engine put together.
- `entrypoint`: the model in the form that an image's program takes it.
- `images`: what is there, pulled and deleted.
- `stream`: the daemon's events, as they come.
- `progress`: a pull's many layers as one number.
- `prune`: what may be thrown away.
"""

from muster_agent.engines.docker.docker_engine import DockerEngine

__all__ = ["DockerEngine"]
