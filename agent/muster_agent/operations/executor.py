"""Runs operations: each once, its result journaled before it is sent, slow ones apart from quick ones."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from queue import SimpleQueue
from threading import Event

import msgspec

from muster.api.messages import OperationCommand, Progress, Result
from muster_agent.engines.base import Cancelled, EngineError
from muster_agent.operations.handlers import Handlers
from muster_agent.runner.context import WorkerContext
from muster_agent.state.db import JournalFull
from muster_agent.state.operations import Accepted, frees_space, only_looks

log = logging.getLogger(__name__)

POOLS = {"pull": 4, "slow": 2, "quick": 4}
"""Threads of each pool. Of pulls those that wait for their turn need one as well, to say so (see Pulls)."""
POOL_OF = {
    "pull_image": "pull",
    "prune": "slow",
    "delete_image": "slow",
    "delete_model": "slow",
    "stop_container": "slow",
}
"""Operation type -> pool; the others are quick."""


def kind(command: OperationCommand) -> str:
    return str(msgspec.to_builtins(command)["type"])


class Operations:
    """Tests give a `spawn` that does nothing, and call `run_all`."""

    def __init__(self, context: WorkerContext, handlers: Handlers) -> None:
        self._handlers = handlers
        self._operations_table = context.operations_table
        self._boottime = context.host.clocks.boottime
        self._boot_id = context.host.clocks.boot_id()
        self._closing = Event()
        self._queues: dict[str, SimpleQueue[OperationCommand]] = {name: SimpleQueue() for name in POOLS}
        for name, size in POOLS.items():
            for number in range(size):
                context.host.spawn(f"{name}-{number}", lambda queue=self._queues[name]: self._work(queue))  # type: ignore[misc]

    def resume(self) -> None:
        """After a restart: what had begun was interrupted, and does not run again; what had not, runs now.

        After a reboot nobody can tell whether its deadline has passed, so it does not run: it may be destructive.
        """
        rebooted = self._operations_table.boot_id != self._boot_id
        for accepted in self._operations_table.unfinished():
            if accepted.begun:
                self._fail(accepted.command, "INTERRUPTED", "The agent ended while this ran; it does not run again")
            elif rebooted or self._boottime() > accepted.deadline:
                self.refuse_late(accepted.command)
            else:
                self.submit(accepted.command)
        self._operations_table.begin_boot(self._boot_id)

    def submit(self, command: OperationCommand) -> None:
        self._queues[POOL_OF.get(kind(command), "quick")].put(command)

    def answer_again(self, accepted: Accepted) -> None:
        """A command that is known came again: if it has its result, here it is; it does not run twice."""
        if accepted.result is not None:
            self._operations_table.finish(accepted.command.command_id, accepted.result)

    def refuse_late(self, command: OperationCommand) -> None:
        self._fail(command, "EXPIRED", "It reached the agent too late, and was not run")

    def close(self) -> None:
        self._closing.set()

    def run(self, command: OperationCommand) -> None:
        try:
            if not only_looks(command):
                self._operations_table.begin(command.command_id)
            with self._operations_table.room() if frees_space(command) else nullcontext():
                output = self._handlers.run(command, lambda progress: self._progress(command, progress), self._closing)
        except EngineError as error:
            self._fail(command, error.error_code, error.message)
        except JournalFull as error:
            self._fail(command, error.error_code, error.command_message)
        except Cancelled:
            # The agent ends; after its restart this is answered as interrupted.
            return
        except Exception as error:
            # One operation's failure, whatever it is, is its own; the operator hears of it and the log has the rest.
            log.exception("operation %s (%s) failed", command.command_id, kind(command))
            self._fail(command, "OPERATION_FAILED", f"{type(error).__name__}; the worker's log says more")
        else:
            fields = {name: value for name, value in msgspec.to_builtins(output).items() if value is not None}
            self._operations_table.finish(command.command_id, Result(status="succeeded", output=fields))

    def _work(self, queue: SimpleQueue[OperationCommand]) -> None:
        while True:
            command = queue.get()
            try:
                self.run(command)
            except Exception:
                # Not even its failure could be journaled; after a restart it is answered as interrupted.
                log.exception("operation %s has no result", command.command_id)

    def run_all(self) -> None:
        """Everything that waits, here and now."""
        for queue in self._queues.values():
            while not queue.empty():
                self.run(queue.get())

    def _fail(self, command: OperationCommand, error_code: str, message: str) -> None:
        result = Result(status="failed", error_code=error_code[:64], message=message[:16000])
        self._operations_table.finish(command.command_id, result)

    def _progress(self, command: OperationCommand, progress: Progress) -> None:
        self._operations_table.progress(command.command_id, Result(status="running", progress=progress))
