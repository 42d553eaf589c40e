"""The gateway: one OpenAI-compatible address for every model of the fleet (docs/gateway.md).

| module | what it owns |
|---|---|
| `gateway_process`, `core`, `first_words` | a gateway as a process; all it knows, wired; what it says at its start |
| `app`, `proxying` | the ASGI application; one request of a good key, from its body to the end of its answer |
| `openai_request`, `openai_errors`, `model_list` | what is read of a request; errors in OpenAI's shape; /v1/models |
| `balancing`, `circuits`, `holding` | which replica; those that fail; requests that wait for a model |
| `bodies` | how many bytes of requests are held |
| `token_usage` | tokens, as models count them |
| `upstream`, `tunnel_upstream`, `direct_upstream` | the way to one replica, by a tunnel or to a pinned address |
| `tunnels` | who may open a tunnel, and which are open |
| `config`, `data_dir`, `listener` | the options, checked; the folder of a gateway; its port and certificate |
| `plane_client`, `plane_link` | the control plane: its requests, and the loops that keep in contact with it |
| `route_table`, `route_file` | the routes that are valid now, as tables; the last ones on disk |
| `trust` | what is still honored: reachable, unreachable since a time, or revoked |
| `limits`, `windows` | what an API key may use; sums over the last minute |
| `ledger`, `ledger_file` | what each API key used: sums that only grow, and their file |
| `telemetry`, `access_lines` | metrics for Prometheus; the access log |
"""
