"""The tunnel's protocol, which the gateway and the agent share: HTTP/2 over a WebSocket that the agent opens.

| module | what it owns |
|---|---|
"""
