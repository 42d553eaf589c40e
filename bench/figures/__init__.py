"""The figures: each module makes one `Figure` from a `Bench`.

| module | what is measured |
|---|---|
| `command_line` | processor time of the command line |
| `gateway` | requests, tokens, and the time to the first token through the gateway and a tunnel |
| `heartbeats` | heartbeats per second, and how long an answer takes |
| `idle_agent` | memory, processor time, and bytes of an agent that has nothing to do |
| `lambda_handler` | a cold import, and an idle heartbeat in AWS |
| `lists` | a list of all workers |
| `starts` | a server's start, and its memory |
| `tunnels` | idle tunnels, and agents that come back to a gateway |
"""
