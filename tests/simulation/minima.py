"""How often each thing must have happened per 1,000 seeds, so that seeds without a violation mean something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

FEWEST = 1000
"""Seeds below which chance alone may leave something out."""

PER_THOUSAND: dict[str, int] = {
    # The network
    "request lost": 400,
    "request delayed": 300,
    "late arrival": 300,
    "request doubled": 400,
    "answer lost": 500,
    "answer late": 100,
    "report refused in between": 100,
    # The control plane
    "function killed": 600,
    "function overtaken": 600,
    "sweep": 800,
    "read lagged": 700,
    "write sent again": 150,
    "request throttled": 250,
    "transaction in conflict": 100,
    "transaction throttled": 20,
    "transaction sent again": 25,
    "write met a transaction": 60,
    "writes left unprocessed": 250,
    "reads left unprocessed": 10,
    "page ended early": 300,
    "database restored": 50,
    # The hosts
    "agent crashed at a journal write": 50,
    "agent crashed at a journaled write": 50,
    "agent crashed at a start": 10,
    "agent crashed at a started container": 10,
    "agent crashed at a stop": 1,
    "agent crashed at a stopped container": 1,
    "agent crashed at a removal": 5,
    "agent crashed at a removed container": 5,
    "agent crashed at a pull": 5,
    "agent crashed at a pulled image": 5,
    "agent killed": 400,
    "agent's disk lost": 150,
    "host cloned": 50,
    "name taken over": 50,
    "two agents on one host": 200,
    "worker removed": 50,
    "silent for a day": 50,
    "model died": 100,
    "clock stepped": 600,
    "host rebooted": 300,
    "model busy": 80,
    "model still loads": 400,
    "GPU lost": 400,
    "GPU gone": 250,
    "GPUs back": 400,
    "engine down": 250,
    "engine answers 500": 220,
    "engine hangs": 250,
    "engine call hung": 300,
    "engine answer lost": 20,
    "engine refused a call": 40,
    "disk full": 400,
    "disk read-only": 180,
    "write refused, disk full": 900,
    "write refused, disk read-only": 300,
    "written to the room of the reserve": 120,
    "outage mended": 400,
    "an outage showed": 150,
    "an outage showed, and was over": 80,
    "container started": 1500,
    "basic client started a container": 80,
    "a larger fleet": 50,
    "sweep braked": 30,
    "joined with a token of one use": 80,
    "ephemeral worker": 80,
    "an intruder asked for a name": 300,
    "an intruder was refused": 150,
    "an intruder was kept aside": 3,
    # The operators
    "operator: deploy": 1500,
    "operator: patch": 500,
    "operator: stop": 1000,
    "operator: start": 500,
    "operator: restart": 500,
    "operator: delete": 500,
    "operator: drain": 150,
    "operator: lost": 50,
    "operator: cancel": 300,
    "operator: relabel": 150,
    "deploy with a selector": 300,
    "GPUs by index": 300,
    "many deployments at once": 8,
    # What reached a worker
    "sent: deploy": 2000,
    "sent: stop": 600,
    "sent: pull_image": 500,
    "sent: delete_image": 200,
    "sent: prune": 200,
    "sent: stop_container": 15,
    "sent: list_containers": 60,
    "an answer full of commands": 6,
}


def too_rare(happened: Counter[str], seeds: int) -> list[str]:
    return list(_too_rare(happened, seeds)) if seeds >= FEWEST else []


def _too_rare(happened: Counter[str], seeds: int) -> Iterator[str]:
    for what, minimum in PER_THOUSAND.items():
        wanted = minimum * seeds // 1000
        if happened[what] < wanted:
            yield f"{what}: {happened[what]} times in {seeds} seeds, at least {wanted} expected"
