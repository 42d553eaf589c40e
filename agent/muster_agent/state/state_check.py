"""What is wrong with the state folder, looked for with every heartbeat."""

from __future__ import annotations

from muster.api.conditions import ConditionType
from muster_agent.conditions import Conditions
from muster_agent.state.db import Database
from muster_agent.state.db_file import damaged


def check_state(database: Database, conditions: Conditions, held_up: list[str]) -> None:
    """Note whether the journal can be written, and whether a damaged one was kept. `held_up` are deployments that wait
    for something. Raises JournalDamaged.
    """
    database.check()
    trouble = database.find_trouble()
    if trouble is not None:
        conditions.trouble(ConditionType.STATE_UNAVAILABLE, trouble, deployments=held_up)
    else:
        conditions.in_order(ConditionType.STATE_UNAVAILABLE)
    kept = damaged(database.path)
    if kept:
        conditions.trouble(ConditionType.STATE_DAMAGED, _damaged_message(str(kept[-1])), deployments=[])
    else:
        conditions.in_order(ConditionType.STATE_DAMAGED)


def _damaged_message(kept: str) -> str:
    return (
        f"the agent's journal was damaged, and a new one was begun: what ran was found again by its labels. The damaged"
        f" file is {kept}: check the disk (`dmesg`), then remove the file"
    )
