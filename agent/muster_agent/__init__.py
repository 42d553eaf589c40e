"""The agent: makes one host do what the control plane wants of it, and says how that goes.

    loop ──commands──► journal ──► fleet ── one actor per deployment ──► engine (Docker or processes)
      ▲                   │          operations ── everything that runs once ──► engine
      └─ heartbeat        └──reports, results──► reporter ──► control plane

Fsync, then ack, then act: a command is in the journal before anybody hears that it was received and before anything is
done about it, so that an agent that is killed at any point picks up where it was.

Threads, and what each may touch:

- The main thread runs `loop.Agent`: it registers, beats, journals what arrives and hands it on. It never waits for
  Docker, NVML or a disk; it reads what others sampled last.
- The reporter sends what the journal's spool holds: in order for each deployment, and none held up by another.
- The watch looks at the host every few seconds and leaves what it saw for the heartbeat.
- One actor per deployment that is not at rest does that deployment's work, and waits for nobody else's.
- Small pools run operations, so that a pull of an hour delays no log.

They share three things. The journal: every call is one transaction under one lock. The inventory: listed under one
lock, read without. An actor's inbox: the latest intent, under the actor's lock; a newer one also sets the event that
ends a pull. No lock is held while another is taken, but for the journal's, which takes none.
"""
