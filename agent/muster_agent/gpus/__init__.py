"""The GPUs of this host, as NVIDIA's driver lists them.

| module | what it owns |
|---|---|
| `nvml` | what the driver reports now |
| `nvml_reads` | one question to NVML at a time |
| `devices` | the GPUs by the indexes that the control plane knows, with their usage |
| `indexes` | which index each GPU has |
| `gpu_watch` | follows the GPUs: a driver that comes later, a GPU that is lost or back |
| `sampler` | the last known figures, so that a heartbeat waits for nothing |
| `gpu_usage` | whose memory a GPU's memory is |
| `cuda` | whether the driver does what an image wants |
| `quantization` | which GPUs a quantization runs on |
| `driver_advice` | what the host's owner can do about a driver or a GPU |

Imports `engines`, `host`, and `conditions`.
"""
