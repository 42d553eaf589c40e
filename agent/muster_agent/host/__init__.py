"""Facts about the host: NVML aside, what the operating system tells.

| module | what it owns |
|---|---|
| `facts` | disk, addresses, processes; the only import of psutil |
| `clocks` | the clocks of the host, and what each is for |
| `boot_id` | which run of the host this is |

Imports no other room.
"""
