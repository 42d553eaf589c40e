"""The agent's child for tunnels: python -m muster_agent.tunnel"""

from __future__ import annotations

from muster_agent.tunnel.child import main

if __name__ == "__main__":
    main()
