"""Commands as they arrive: journaled, then handed on, then acked with the next heartbeat.

One that cannot be journaled is neither acked nor acted on, and the control plane hears why. One that this agent does
not understand (a newer control plane's) is answered as failed, and costs the others nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import msgspec
from msgspec import Raw, Struct

from muster.api.messages import Command, Count, Deploy, Id, OperationCommand, Report, Result, Stop
from muster_agent.operations.executor import kind
from muster_agent.state.db import JournalFull
from muster_agent.state.deployments import Receipt
from muster_agent.wiring import Journal, Runtime

log = logging.getLogger(__name__)


MAX_COMMANDS = 1024
"""Commands that are taken of one answer: each is written to disk before the next heartbeat. The rest comes again."""


class _Envelope(Struct):
    """What every command has, known or not. An id that is none could be neither acked nor reported on."""

    type: str
    command_id: Id
    deployment_id: Id | None = None
    generation: Count | None = None


class CommandReceiver:
    """`acks` are the ids to send with the next heartbeat. Deadlines are on the clock `boottime`."""

    def __init__(self, journal: Journal, boottime: Callable[[], float]) -> None:
        self._journal = journal
        self._boottime = boottime
        self.acks: list[str] = []
        # The message about each command that could not be journaled.
        self._refused: dict[str, str] = {}
        # The deployments whose change could not be journaled: the condition of the worker names them.
        self.waiting: set[str] = set()
        # The deploys that failed so, by deployment: generation, error code, message.
        self._failed: dict[str, tuple[int, str, str]] = {}

    def acked(self, sent: Iterable[str]) -> None:
        """The control plane has these."""
        gone = set(sent)
        self.acks = [command_id for command_id in self.acks if command_id not in gone]

    def receive(self, commands: list[Raw], sent_at: float, runtime: Runtime) -> bool:
        """Take what came in answer to a heartbeat that was sent at `sent_at` (boottime).

        False when something was not stored.
        """
        stored = [self._receive_one(command, sent_at, runtime) for command in commands[:MAX_COMMANDS]]
        return all(stored) and len(commands) <= MAX_COMMANDS

    def _receive_one(self, raw: Raw, sent_at: float, runtime: Runtime) -> bool:
        try:
            command = msgspec.json.decode(raw, type=Command)
        except (msgspec.DecodeError, RecursionError) as error:
            return self._refuse_unknown(raw, str(error))
        if isinstance(command, Deploy) and self._has_failed(command):
            return False
        try:
            if isinstance(command, Deploy | Stop):
                self._receive_intent(command, runtime)
            else:
                self._receive_operation(command, sent_at, runtime)
        except JournalFull as error:
            self._refuse(command, error, runtime)
            return False
        self._refused.clear()
        self._ack(command.command_id)
        return True

    def _has_failed(self, command: Deploy) -> bool:
        """Whether the control plane may know this deploy as failed, since it could not be journaled when it came first.

        Then it stays failed: an operator may have started it elsewhere. A failure that nobody was told is taken back.
        """
        failed = self._failed.get(command.deployment_id)
        if failed is None or failed[0] != command.generation:
            return False
        outbox = self._journal.outbox
        if outbox.take_back(command.deployment_id, command.generation):
            del self._failed[command.deployment_id]
            return False
        if not outbox.holds(command.deployment_id):
            self._refuse_intent(command.deployment_id, *failed)
        return True

    def _receive_intent(self, command: Deploy | Stop, runtime: Runtime) -> None:
        receipt = self._journal.deployments_table.accept(command)
        self.waiting.discard(command.deployment_id)
        if receipt is Receipt.NEW:
            log.info("deployment %s: %s, generation %d", command.deployment_id, _verb(command), command.generation)
        runtime.manager.submit(command)

    def _receive_operation(self, command: OperationCommand, sent_at: float, runtime: Runtime) -> None:
        deadline = sent_at + command.expires_in
        known = self._journal.operations_table.accept(command, deadline)
        if known is not None:
            runtime.operations.answer_again(known)
        elif self._boottime() > deadline:
            runtime.operations.refuse_late(command)
        else:
            log.info("operation %s: %s", command.command_id, kind(command))
            runtime.operations.submit(command)

    def _refuse(self, command: Deploy | Stop | OperationCommand, error: JournalFull, runtime: Runtime) -> None:
        """From memory, since nothing can be written, and once: a command comes again with every heartbeat.

        A deploy has failed, unless something of its deployment is here: that runs on with its GPUs, and is changed when
        there is room. A report would count as a receipt. Nor has a stop failed: what it is to end runs on until then.
        """
        waits = isinstance(command, Deploy) and runtime.manager.has_something_of(command.deployment_id)
        last = self._refused.setdefault(command.command_id, "")
        self._refused[command.command_id] = error.command_message
        if last != error.command_message:
            log.error("command %s is not taken: %s", command.command_id, error)
        elif waits or not isinstance(command, Deploy) or command.deployment_id in self._failed:
            return
        if isinstance(command, Stop):
            message = f"Not stopped yet. {error.error_code}: {error.command_message}"
            report = Report(status="stopping", generation=command.generation, message=message)
            self._journal.outbox.hold(command.deployment_id, report)
        elif isinstance(command, Deploy) and waits:
            self.waiting.add(command.deployment_id)
        elif isinstance(command, Deploy):
            self._failed[command.deployment_id] = failed = command.generation, error.error_code, error.command_message
            self._failed = dict(list(self._failed.items())[-MAX_COMMANDS:])
            self._refuse_intent(command.deployment_id, *failed)
        else:
            result = Result(status="failed", error_code=error.error_code, message=error.command_message)
            self._journal.outbox.hold(command.command_id, result)

    def _refuse_intent(self, deployment_id: str, generation: int, error_code: str, message: str) -> None:
        report = Report(status="error", generation=generation, error_code=error_code, message=message)
        self._journal.outbox.hold(deployment_id, report)

    def _refuse_unknown(self, raw: Raw, why: str) -> bool:
        try:
            command = msgspec.json.decode(raw, type=_Envelope)
        except (msgspec.DecodeError, RecursionError):
            log.warning("something that is no command came with the heartbeat's answer: %s", why)
            return True
        message = f"This agent does not understand the command ({why}); a newer agent may"
        log.warning("command %s (%s): %s", command.command_id, command.type, message)
        if command.deployment_id is not None and command.generation is not None:
            self._refuse_intent(command.deployment_id, command.generation, "UNSUPPORTED_COMMAND", message)
        else:
            result = Result(status="failed", error_code="UNSUPPORTED_COMMAND", message=message)
            self._journal.outbox.put(command.command_id, result)
        self._ack(command.command_id)
        return True

    def _ack(self, command_id: str) -> None:
        if command_id not in self.acks:
            self.acks.append(command_id)


def _verb(command: Deploy | Stop) -> str:
    return f"deploy {command.model}" if isinstance(command, Deploy) else "stop"
