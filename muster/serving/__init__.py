"""HTTP/1.1 over uvicorn: strict, bounded, and patient only so long. Gateways and the local control plane use it.

| module | what it owns |
|---|---|
| `answers` | a whole answer, and the line that a log gets for it |
| `connections` | the open connections, as many as there is room for |
| `exchange` | one request of a connection and its answer: ASGI's `receive` and `send` |
| `http_protocol` | one connection: what is read, refused, and answered |
| `http_server` | uvicorn with all of that |
| `websocket_protocol` | a connection that became a WebSocket |
"""
