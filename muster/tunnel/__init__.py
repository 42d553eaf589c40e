"""The tunnel's protocol, which the gateway and the agent share: HTTP/2 over a WebSocket that the agent opens.

| module | what it owns |
|---|---|
| `carrier` | what moves a link's bytes and keeps its rhythm on an event loop |
| `headers` | which headers pass between callers and models |
| `link` | one end of the HTTP/2 connection: streams, windows, signs of life |
| `paths` | which paths of a model a gateway may ask for |
| `protocol` | the WebSocket that carries the connection, close codes, and refusals |
"""
