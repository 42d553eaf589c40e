"""The control plane on one machine, as `make serve`, `make demo`, and `chalice local` run it.

| module | what it owns |
|---|---|
| `__main__` | the commands serve, backup, and restore |
| `prepare` | the settings of the stage `local`, and which database and server the process gets |
| `server`, `http_server`, `connections` | HTTP as the app should be served: start, framing, how many connections |
| `lambda_events` | requests as API Gateway hands them to the app |
| `schedule` | the minute hand: `chalice local` never runs `@app.schedule` |
| `dynamodb`, `store` | the embedded DynamoDB, and its SQLite file |
| `backup`, `damage` | a copy of that file; what is wrong with it, and the way out |

`__main__` and `prepare` import the others; none of these imports them.
"""
