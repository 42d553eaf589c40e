"""What both ends of a tunnel agree on beside HTTP/2: the WebSocket that carries it, close codes, and refusals."""

from __future__ import annotations

from enum import IntEnum

from muster.api.compat import StrEnum

PATH = "/tunnel"
SUBPROTOCOL = "muster-tunnel.v1"
CONNECTIONS = 2
"""Of an agent to each gateway: what one of them loses, the other still carries."""
MAX_MESSAGE_BYTES = 1024 * 1024
"""Of a WebSocket message. Their borders mean nothing; this bounds what an end must hold at once."""
MAX_TEXT_BYTES = 4096
"""Of a text message, which holds a renewed ticket and nothing else."""


class Close(IntEnum):
    """Why a gateway closes a tunnel, as a WebSocket's close code. An agent that was superseded stays away for long."""

    GOING = 1012  # the gateway ends: dial again
    BAD_TICKET = 4401  # ask the control plane for another ticket
    NOT_WANTED = 4403  # this gateway serves nobody any more
    SUPERSEDED = 4409  # a newer session of this worker is connected
    REPLACED = 4410  # a newer connection of this worker took its place
    LOST = 4408  # no sign of life, or a broken protocol


class Refusal(StrEnum):
    """Why an agent did not ask the model: the value of the header `muster-refusal`."""

    DRAINING = "draining"  # the model is about to stop: ask another replica
    NO_DEPLOYMENT = "no-deployment"  # this worker does not serve that deployment
    UNREACHABLE = "unreachable"  # the model does not answer on this host
    PATH = "path"  # the host's owner does not let gateways ask for that path
    REQUEST = "request"  # the request cannot be passed on
    BUSY = "busy"  # more requests are under way than the agent takes


STATUS = {
    Refusal.DRAINING: 503,
    Refusal.NO_DEPLOYMENT: 404,
    Refusal.UNREACHABLE: 503,
    Refusal.PATH: 404,
    Refusal.REQUEST: 400,
    Refusal.BUSY: 503,
}
