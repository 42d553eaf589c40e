"""Many simulated agents against a real `serve` for a long time: `make soak`. Errors, losses, and memory are counted.

| module | what is in it |
|---|---|
| `async_http` | one kept connection of an agent, which is opened again when the server was away |
| `demands` | what operators ask for, and whether all of it came about |
| `memory_samples` | the server's memory over time, and its slope |
| `simulated_agent` | an agent of docs/protocol.md without containers |
"""
