"""The control plane on one machine, as `make serve`, `make demo`, and `chalice local` run it.

| module | what it owns |
|---|---|
| `__main__` | the commands serve, backup, and restore |
| `prepare` | the settings of the stage `local`, and which database and server the process gets |
| `server` | the start and the first words of a process, and the address on which it listens |
| `http_server` | the app on Muster's HTTP server (muster/serving) |
| `embedded_gateway` | models beside the API, from the same process |
| `asgi`, `answers`, `threads`, `durability` | requests as API Gateway hands them to the app, and its answers |
| `schedule` | the minute hand: `chalice local` never runs `@app.schedule` |
| `dynamodb`, `store` | the embedded DynamoDB, and its SQLite file |
| `backup`, `damage` | a copy of that file; what is wrong with it, and the way out |

`__main__` and `prepare` import the others; none of these imports them.
"""
