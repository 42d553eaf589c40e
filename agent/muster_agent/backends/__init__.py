"""From a deploy command to vLLM's arguments, and what the host's owner allows of them.

| module | what it owns |
|---|---|
| `command` | arguments, environment, and port of one instance |
| `flags`, `given_flags` | `config` as vLLM's command line, and which flags it gives |
| `policy` | what the host's owner allows |
| `impossible_flags` | flags that no deployment can have |
| `harmless_flags`, `remote_code` | which settings choose code or other hosts for a model |
| `container_settings`, `mounts`, `host_paths` | container settings, mounts, and host paths of a deployment |
| `hub`, `hub_cache`, `weights` | what the hub says of a model, what is cached, and who may read it |

Imports `engines` and `state`.
"""
