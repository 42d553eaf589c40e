"""The control plane's settings, all from the environment; a later change needs a restart."""

from __future__ import annotations

import os

TABLE_PREFIX = os.environ.get("MUSTER_TABLE_PREFIX", "muster-")
HEARTBEAT = int(os.environ.get("MUSTER_HEARTBEAT", "30"))
"""Seconds between heartbeats of a worker that has nothing to do."""
ONLINE_WINDOW = float(os.environ.get("MUSTER_ONLINE_WINDOW", "90"))
"""Seconds without a heartbeat for which a worker counts as online all the same."""
LOCAL = os.environ.get("MUSTER_LOCAL") == "1"
"""Whether clients of the models are on this machine, so that 127.0.0.1 may be shown as an endpoint."""
MAX_WAITS = int(os.environ.get("MUSTER_MAX_WAITS", "5"))
"""Callers that wait for a worker at once; the next is told at once where to look. Half of a new account's functions."""
SNAPSHOT_SECONDS = float(os.environ.get("MUSTER_SNAPSHOT_SECONDS", "5"))
"""How old the snapshot may be that the console, `muster top`, and Prometheus share."""
GATEWAY_POLL = float(os.environ.get("MUSTER_GATEWAY_POLL") or (2 if LOCAL else 10))
"""Seconds between two questions of a gateway for its routes."""
