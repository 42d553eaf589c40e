"""One deployment's life on this host.

| module | what it owns |
|---|---|
| `context` | what the parts that act for one worker share |
| `threads` | how the agent starts its threads |
| `manager` | the deployments of this host: a runner for each |
| `runner` | one deployment's thread |
| `reconciler` | one step: observe, plan, act, report |
| `deployment_state` | a deployment's record and the reports made of it |
| `plan` | from what is wanted and what is there to the steps between; pure |
| `plan_executor` | takes the steps of a plan |
| `instance_monitor` | watches over the instance that a deployment wants |
| `failures` | what a crash or a failed step becomes |
| `starter` | from a deploy command to an instance |
| `preflight` | what is in the way of a deployment, before anything is fetched |
| `startup`, `phases` | whether a starting model gets anywhere, and how far it is |
| `probes` | whether a model answers |
| `restarts` | when an instance that died starts again, and when its crashes are a loop |
| `crash_context` | what a crash report says beside the log |
| `pulls` | pulls of images: two at a time, tried again |
| `instances`, `poller` | the engine's instances, listed once for everyone, and every few seconds |
| `listening` | the address that models listen at |

Imports `backends`, `logs`, `gpus`, `engines`, `state`, and `host`.
"""
