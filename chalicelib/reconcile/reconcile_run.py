"""One run of the reconciler for one worker: what its heartbeat reports, and what the run has decided so far."""

from __future__ import annotations

from msgspec import field

from chalicelib.reconcile.client_rules import ClientRules, rules_for
from chalicelib.store import slots
from chalicelib.store.tables import Deployment, Slot, WorkerHeartbeat
from muster.api import messages as m
from muster.api.structs import State


class ReconcileRun(State):
    """`heartbeat` is as the heartbeat's write returned it. `inbox` is the worker's inbox as this run knows it."""

    heartbeat: WorkerHeartbeat
    body: m.Heartbeat
    now: float
    journal_lost: bool
    inbox: int
    needs_another: bool = False
    """Whether a later heartbeat must reconcile again, although nothing else asks for it."""
    commands: list[m.Command] = field(default_factory=list)
    listed: list[tuple[Slot, Deployment]] = field(default_factory=list)
    """The known deployments that the worker lists as active."""

    @property
    def worker_id(self) -> str:
        return str(self.heartbeat.worker_id)

    @property
    def session(self) -> int:
        """The agent's session; 0 for a basic client, which has none."""
        return self.body.session or 0

    @property
    def rules(self) -> ClientRules:
        return rules_for(self.body)

    def lists(self, slot: Slot) -> bool:
        return slot.deployment_id in self.body.active_deployments

    def starts(self, slot: Slot) -> bool:
        """Whether the worker took the deployment on, has nothing of it running, and starts it without being told."""
        return slot.deployment_id in self.body.pending_deployments

    def missed(self, slot: Slot) -> bool:
        """Whether an earlier session had this intent and this one's journal is older: it was cloned, or put back."""
        earlier = slot.sent_session is not None and slot.sent_session < self.session
        received, sent = self.body.inbox, slot.sent_inbox
        return bool(earlier and received is not None and sent is not None and received < sent)

    def is_of_earlier_machine(self, slot: Slot) -> bool:
        """Whether the stop is for a deployment of another machine, which had this worker's name before.

        If the takeover was cut off, that machine is still the worker, and may have what was sent before it.
        """
        return not slot.sent_session and self.heartbeat.journal is None

    def bump_inbox(self) -> int:
        """Raise the inbox, once in a run, and return it.

        Bump before sending, so that an agent that reports an older inbox provably missed what this run sends first.
        """
        if self.body.inbox is not None and self.inbox == self.heartbeat.inbox:
            self.inbox = slots.bump_inbox(self.worker_id, self.now)
        return self.inbox
