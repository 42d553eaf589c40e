"""Figures of Muster beside their floors and beside peers, measured in one run: `make bench` (docs/adr/0045).

A server is a black box here: a process, and HTTP. So the same code measures the working tree, another commit
(`make bench-compare REF=`), and servers of others. Nothing of Muster is imported.

| module | what is in it |
|---|---|
| `bare_http`, `bare_sqlite` | the floors of a heartbeat, as programs |
| `bare_relay` | the floor of a gateway: HTTP/1.1 over HTTP/2, as a program |
| `fastapi_server` | a control plane as many would write it, as a program |
| `figure` | what a figure is; subjects in turn, over several rounds |
| `figures` | the figures |
| `gateway_stack` | the processes between a caller and a model |
| `host` | the machine, as the report describes it |
| `idle_tunnels` | agents' ends of idle tunnels, a process of its own |
| `load` | the load generator, a process of its own |
| `peers` | which servers are measured, and their environments |
| `plots` | a figure as SVG |
| `profiles` | where the hottest paths of `serve` spend their time |
| `report` | tables, ratios, and docs/benchmarks.md |
| `samples` | medians, quartiles, ratios of neighboring measurements |
| `servers` | servers as processes that are started, filled, and stopped |
| `soak` | simulated agents against a real server for a long time |
| `stream_load` | the load generator for streamed answers, a process of its own |
| `token_model` | a model that costs next to nothing, as a program |
| `worktree` | another commit beside the working tree |
"""
