"""What runs Muster on machines and in AWS, and what a release is made with.

| module | what it owns |
|---|---|
| `chalice_hooks` | what happens before the app is loaded, for `chalice local`, `chalice deploy`, and `make serve` |
| `local` | the control plane on one machine |
| `cloud` | the control plane in an AWS account |
| `demo`, `demo_api`, `demo_stage` | `make demo` |
| `e2e_vllm`, `e2e_checks`, `tiny_model` | the demo with a real vLLM, and what is asked of it |
| `fake_vllm`, `fake_vllm_image` | a server that answers as vLLM does, and has no model |
| `wheelhouse`, `wheelhouse_lock`, `oldest_python`, `release` | the wheels for hosts, Python 3.10, a release's files |
| `client_docs`, `vendor`, `measure_agent` | docs/client.md, the console's libraries, what an idle agent costs |

The folders `install`, `litellm`, and `server` have files for hosts and containers. Nothing outside this package and the
tests imports it, but for app.py, which calls `chalice_hooks`.
"""
