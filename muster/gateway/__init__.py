"""The gateway: one OpenAI-compatible address for every model of the fleet (docs/gateway.md).

| module | what it owns |
|---|---|
| `gateway_process`, `core`, `first_words` | a gateway as a process; all it knows, wired; what it says at its start |
| `upstream` | the way to one replica: what the proxy sees of tunnels and direct connections |
| `config`, `data_dir`, `listener` | the options, checked; the folder of a gateway; its port and certificate |
| `plane_client`, `plane_link` | the control plane: its requests, and the loops that keep in contact with it |
| `route_table`, `route_file` | the routes that are valid now, as tables; the last ones on disk |
| `trust` | what is still honored: reachable, unreachable since a time, or revoked |
| `limits`, `windows` | what an API key may use; sums over the last minute |
| `ledger`, `ledger_file` | what each API key used: sums that only grow, and their file |
| `telemetry`, `access_lines` | metrics for Prometheus; the access log |
"""
