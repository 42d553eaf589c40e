"""Models as plain processes, for hosts that are containers themselves.

| module | what it owns |
|---|---|
| `process_engine` | the engine: instances from the folders of their processes |
| `supervisor` | one process: its folder, and the group that runs under the shim |
| `shim` | stands between a model's process and the agent, so that the agent may die and come back |

`supervisor` starts `shim` as a program; neither imports the engine.
"""
