"""Models of this host, served to gateways: the host listens on nothing, a child of the agent dials out.

    agent ── orders (gateways, models, what drains) ──► child ──► gateways' tunnels
    agent ◄── which instances have drained ──────────── child ◄── requests, each sent on to a model on this host

The child is a process of its own, so that traffic can neither stall nor end what the agent does for the control plane.

| module | what it owns |
|---|---|
| `orders` | what agent and child send each other |
| `settings` | the owner's decisions: no tunnel, which gateways, which paths, how long to drain |
| `tunnel_supervisor` | the agent's part: the child's life, its orders, tickets, draining |
| `targets` | the models that can be asked, from what the runner knows |
| `child` | the child's event loop: orders in, tunnels and models out |
| `dialing` | a connection to a gateway, dialed again when it is lost |
| `proxies` | the proxy on the way to a gateway |
| `exchanges` | a request from a gateway, on its way to a model and back |
"""
