"""How far one deployment is: its record, every change of which is journaled, and the reports made of it."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import msgspec

from muster.api.lifecycle import COMING_UP, ENDING, Status
from muster.api.messages import CrashLoop, Fix, Progress, Report
from muster_agent.engines.base import Instance
from muster_agent.runner.context import WorkerContext
from muster_agent.runner.plan import of_deployment
from muster_agent.runner.restarts import Restarts
from muster_agent.state.deployments import Record

WAITING_PREFIX = "Waits for"
"""How a message begins that is out of date as soon as the deployment can go on."""


class Failure(NamedTuple):
    """The part of a report that says why something failed."""

    error_code: str
    logs: str = ""
    fix: Fix | None = None


class DeploymentState:
    """`reported` is set by every report; `ending` holds the ids of the instances whose end was announced.

    `expected_in` is the run of the host in which the expected instance was there.
    """

    def __init__(self, record: Record, context: WorkerContext, restarts: Restarts) -> None:
        self.record = record
        self.reported = False
        self.ending: set[str] = set()
        self.expected_in = context.host.run()
        self._context = context
        self._restarts = restarts

    @property
    def is_waiting(self) -> bool:
        """Whether the last report says that the deployment waits for the engine, an address or a GPU."""
        return self.record.report is not None and (self.record.report.message or "").startswith(WAITING_PREFIX)

    @property
    def counts_down(self) -> bool:
        """Whether the last report says that a crash loop waits for its next start."""
        loop = self.record.report.crash_loop if self.record.report is not None else None
        return loop is not None and loop.next_start_in is not None

    @property
    def reported_address(self) -> str | None:
        report = self.record.report
        return report.address if report is not None and self.record.status is Status.RUNNING else None

    def instances(self) -> list[Instance]:
        """The deployment's own instances. Raises EngineError if the engine does not answer."""
        listed = self._context.instance_cache.instances()
        return of_deployment(self.record.deployment_id, self._context.worker_id, listed)

    def save(self, record: Record, report: Report | None = None) -> None:
        """Journal the record if it has changed, and `report` with it."""
        if record != self.record or report is not None:
            self.record = record
            self._context.deployments_table.save(record, report)

    def expect(self, instance: Instance) -> None:
        """Journal that the instance is there, and has to stay."""
        self.expected_in = self._context.host.run()
        self.save(replace(self.record, container_id=instance.id, port=instance.port))

    def count_crash(self) -> None:
        """Take in what `restarts` counted; the next report journals it."""
        self.record = replace(self.record, restarts=self.record.restarts + 1, crashes=self._restarts.crashes)

    def report(
        self,
        status: Status,
        message: str,
        *,
        gone: bool = False,
        failure: Failure | None = None,
        progress: Progress | None = None,
        address: str | None = None,
    ) -> None:
        """Journal the new status, and its report for the outbox. `gone` means that no instance is expected any more."""
        self.reported = True
        container_id = None if gone else self.record.container_id
        report = Report(
            status=status.value,
            container_id=container_id,
            port=self.record.port if container_id else None,
            message=message[:16000],
            error_code=failure.error_code if failure is not None else None,
            logs=(failure.logs or None) if failure is not None else None,
            generation=self.record.command.generation,
            progress=progress,
            restarts=self.record.restarts,
            fix=failure.fix if failure is not None else None,
            address=address,
            serving=self._serving() if status in COMING_UP else None,
            crash_loop=self._crash_loop(status),
        )
        self.save(replace(self.record, status=status, container_id=container_id, report=report), report)

    def report_again(self) -> None:
        """Repeat the last report, with the time that is left until the next start."""
        report = self.record.report
        if report is not None:
            report = msgspec.structs.replace(report, crash_loop=self._crash_loop(report.reported))
            self.save(replace(self.record, report=report), report)

    def _crash_loop(self, status: Status) -> CrashLoop | None:
        """A deployment that ends has none: nothing starts again."""
        return None if status in ENDING else self._restarts.loop(self._context.host.clocks.monotonic())

    def _serving(self) -> int:
        """The generation of an older instance, which runs until this one takes its place; 0 if there is none."""
        seen = self._context.instance_cache.seen or ()
        generations = [
            instance.generation or 0
            for instance in of_deployment(self.record.deployment_id, self._context.worker_id, seen)
            if instance.state == "running" and instance.id not in self.ending
        ]
        older = (generation for generation in generations if generation < self.record.command.generation)
        return max(older, default=0)
