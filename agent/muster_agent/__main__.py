"""`muster-agent`, also as `python -m muster_agent`. What runs is in main.py, which needs the extra `agent`."""

from __future__ import annotations

from muster.extras import needed


def program() -> None:
    """Run the agent, or `muster-agent doctor`. Without what the agent needs, say what to install."""
    with needed("agent", "muster-agent"):
        from muster_agent.main import program as run
    run()


if __name__ == "__main__":
    program()
