"""What the two kinds of client do, and so what their heartbeats prove: one set of rules for each."""

from __future__ import annotations

from muster.api import messages as m
from muster.api.structs import Value


class ClientRules(Value, frozen=True):
    """The facts about a kind of client that decide how its slots are reconciled."""

    list_is_receipt: bool
    """The client acknowledges nothing: a deployment that it lists shows that the deploy arrived, and one that it does
    not list that the stop did."""
    list_is_report: bool
    """The client reports nothing twice: a deployment that it lists runs, even if it counts as lost or stopped."""
    forgets_deploys: bool
    """The client may take a deploy and never bring the model up, for example because it restarted."""
    needs_stop_before_deploy: bool
    """The client does not know that a deploy replaces what an earlier one started."""
    checks_gpus: bool
    """The client looks who uses a GPU before it starts a model there."""


AGENT = ClientRules(
    list_is_receipt=False,
    list_is_report=False,
    forgets_deploys=False,
    needs_stop_before_deploy=False,
    checks_gpus=True,
)
BASIC_CLIENT = ClientRules(
    list_is_receipt=True,
    list_is_report=True,
    forgets_deploys=True,
    needs_stop_before_deploy=True,
    checks_gpus=False,
)


def rules_for(body: m.Heartbeat) -> ClientRules:
    return BASIC_CLIENT if body.is_basic else AGENT
