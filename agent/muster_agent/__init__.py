"""The agent: makes one host do what the control plane wants of it, and reports how that goes.

    heartbeat ─commands─► journal ──► runner ── one thread per deployment ──► engines (Docker or processes)
      ▲                      │         operations ── what runs once ──────────► engines
      └─ every 30 s          └─ outbox ──► reporter ──► control plane

Fsync, acknowledge, act: a command is in the journal before anybody learns that it was received and before anything is
done about it, so that an agent that is killed at any point picks up where it was.

| module or room | what it owns |
|---|---|
| `main`, `config` | the command line; the owner's settings |
| `doctor` | what would keep this host from being a worker |
| `heartbeat`, `commands`, `wiring` | the loop; the commands that arrive; the parts that act for one worker |
| `conditions` | what this host cannot do at the moment |
| `signals` | SIGTERM and SIGINT |
| `tunnel` | models of this host, served to gateways |
| `operations` | what runs once |
| `runner` | one deployment's life on this host |
| `backends` | from a deploy command to vLLM's arguments |
| `logs` | logs of running and past instances |
| `gpus` | NVML |
| `engines` | Docker, or plain processes |
| `control` | speaks to the control plane |
| `state` | what survives a crash |
| `host` | psutil, clocks, boots |

A room imports rooms below it in this table, and none above (`tests/test_imports.py`).

Threads, and what each may touch:

- The main thread runs `heartbeat.HeartbeatLoop`: it registers, sends heartbeats, journals commands and hands them on.
  It never waits for Docker, NVML or a disk; it reads what others sampled last.
- The reporter sends what the outbox holds: in order for each deployment, and none held up by another.
- The poller lists the host's instances every few seconds, and leaves the list for the heartbeat.
- One runner per deployment that is not at rest does that deployment's work, and waits for no other.
- Small pools run operations, so that a pull of an hour delays no log.

They share three things. The journal: every call is one transaction under one lock. The instance cache: listed under
one lock, read without. A runner's latest intent, under the runner's lock; a newer intent also sets the event that ends
a pull. No lock is held while another is taken, but for the journal's, which takes none.
"""
