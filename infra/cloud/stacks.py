"""A CloudFormation stack brought to what a template says, and what happened on the way.

    none, REVIEW_IN_PROGRESS ──────────► a change set that creates ──┐
    …_COMPLETE ────────────────────────► a change set that updates ──┼─► executed, followed by its events
    ROLLBACK_COMPLETE, …_FAILED ───────► deleted first, if the stack holds no data; then as if there were none
    UPDATE_ROLLBACK_FAILED, …_IN_PROGRESS ──► an operator decides

A change set that changes nothing fails, and CloudFormation says so in two ways. That is success.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from infra.cloud.errors import Interrupted, Stop, advice

NEVER_MADE = {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"}
UNCHANGED = ("didn't contain changes", "No updates are to be performed")
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
POLL_SECONDS = 3.0
"""Between two looks."""

Event = dict[str, Any]
Parameters = Mapping[str, str | None]
"""None is what it was before, or else the template's default."""


@dataclass(frozen=True)
class Stack:
    """`status` is None where there is none."""

    name: str
    status: str | None = None
    id: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    parameters: frozenset[str] = frozenset()
    """Their names."""

    @property
    def exists(self) -> bool:
        return self.status not in {None, "REVIEW_IN_PROGRESS", "DELETE_COMPLETE"}


class Stacks:
    """`show` is told each line of what happens, while it happens."""

    def __init__(
        self, cloudformation: Any, show: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._aws, self._show, self._sleep = cloudformation, show, sleep

    def look(self, name: str) -> Stack:
        try:
            (found,) = self._aws.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if "does not exist" in str(error):
                return Stack(name)
            raise
        outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
        parameters = frozenset(parameter["ParameterKey"] for parameter in found.get("Parameters", []))
        return Stack(name, found["StackStatus"], found["StackId"], outputs, parameters)

    def refuse_if_busy(self, found: Stack) -> None:
        """Raises Stop while something else changes it."""
        if found.exists and str(found.status).endswith("_IN_PROGRESS"):
            raise Stop(
                f"another deploy is in progress ({found.name} is in {found.status}): wait until it has ended, then run "
                f"the same command again. To look: {_how_to_look(found.name)}"
            )

    def put(self, name: str, url: str, parameters: Parameters, *, holds_data: bool) -> Stack:
        """Create or update it. A second time nothing changes. Raises Stop, with the reason of what failed first."""
        found = self._ready(name, holds_data)
        change = self._propose(found, url, parameters)
        if change is None:
            self._show(f"{name}: nothing to change")
            return self.look(name)
        known = {event["EventId"] for event in self._events(change["StackId"])}
        self._aws.execute_change_set(ChangeSetName=change["ChangeSetId"], StackName=name)
        status, happened = self._follow(name, change["StackId"], known)
        if status not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
            raise Stop(_failure(name, status, happened))
        return self.look(name)

    def preview(self, name: str, url: str, parameters: Parameters) -> None:
        """Show what `put` would change, and change nothing."""
        found = self.look(name)
        change = self._propose(found, url, parameters)
        if change is None:
            self._show(f"{name}: nothing to change")
            return
        for entry in change["Changes"]:
            resource = entry["ResourceChange"]
            self._show(f"{name}: {resource['Action']} {resource['LogicalResourceId']} ({resource['ResourceType']})")
        self._aws.delete_change_set(ChangeSetName=change["ChangeSetId"], StackName=name)
        if not found.exists:
            self._aws.delete_stack(StackName=change["StackId"])  # only the change set had made it

    def delete(self, name: str) -> bool:
        """Whether there was one. Raises Stop, with the reason of what failed first."""
        found = self.look(name)
        if found.status is None:
            return False
        self.refuse_if_busy(found)
        known = {event["EventId"] for event in self._events(found.id)}
        self._aws.delete_stack(StackName=found.id)
        status, happened = self._follow(name, found.id, known)
        if status != "DELETE_COMPLETE":
            raise Stop(_failure(name, status, happened))
        return True

    def tables(self, name: str) -> list[str]:
        """The names of the stack's tables."""
        resources = self._aws.describe_stack_resources(StackName=name)["StackResources"]
        tables = (resource for resource in resources if resource["ResourceType"] == "AWS::DynamoDB::Table")
        return [table["PhysicalResourceId"] for table in tables]

    def _ready(self, name: str, holds_data: bool) -> Stack:
        found = self.look(name)
        self.refuse_if_busy(found)
        if found.status == "UPDATE_ROLLBACK_FAILED":
            raise Stop(
                f"{name} is in UPDATE_ROLLBACK_FAILED: mend what it says in `{_how_to_look(name)}`, then "
                f"`aws cloudformation continue-update-rollback --stack-name {name}`, then run the same command again"
            )
        if found.status not in NEVER_MADE:
            return found
        if holds_data:
            raise Stop(
                f"{name} is in {found.status} and can only be deleted, which is not done here, as it is for data: "
                f"look at `{_how_to_look(name)}`, then `aws cloudformation delete-stack --stack-name {name}`, "
                f"then run the same command again"
            )
        self._show(f"{name} is in {found.status}: it holds no data, and is made anew")
        self.delete(name)
        return Stack(name)

    def _propose(self, found: Stack, url: str, parameters: Parameters) -> dict[str, Any] | None:
        """The change set, or None if it would change nothing."""
        made = self._aws.create_change_set(
            StackName=found.name,
            ChangeSetName=f"muster-{uuid.uuid4().hex}",
            ChangeSetType="UPDATE" if found.exists else "CREATE",
            TemplateURL=url,
            Parameters=list(_given(parameters, found)),
            Capabilities=CAPABILITIES,
        )
        while True:
            change: dict[str, Any] = self._aws.describe_change_set(ChangeSetName=made["Id"], StackName=found.name)
            if change["Status"] not in {"CREATE_PENDING", "CREATE_IN_PROGRESS"}:
                break
            self._sleep(POLL_SECONDS)
        if change["Status"] == "CREATE_COMPLETE":
            return change
        self._aws.delete_change_set(ChangeSetName=made["Id"], StackName=found.name)
        reason = change.get("StatusReason", "no reason was given")
        if any(said in reason for said in UNCHANGED):
            return None
        raise Stop(f"{found.name} was not changed: {reason}")

    def _follow(self, name: str, stack_id: str, known: set[str]) -> tuple[str, list[Event]]:
        """The status that the stack ends in, and all that happened since the events that are `known`."""
        happened: list[Event] = []
        try:
            while True:
                fresh = list(self._events(stack_id, known))[::-1]
                for event in fresh:
                    known.add(event["EventId"])
                    self._show(_line(event))
                happened += fresh
                own = [event for event in happened if event["PhysicalResourceId"] == stack_id]
                if own and not own[-1]["ResourceStatus"].endswith("_IN_PROGRESS"):
                    return own[-1]["ResourceStatus"], happened
                self._sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted, but {name} goes on in AWS. To look: {_how_to_look(name)}; "
                f"when it has ended, run the same command again: it does what is left"
            ) from None

    def _events(self, stack_id: str, known: set[str] = frozenset()) -> Iterator[Event]:  # type: ignore[assignment]
        """The newest first, up to one that is known."""
        for page in self._aws.get_paginator("describe_stack_events").paginate(StackName=stack_id):
            for event in page["StackEvents"]:
                if event["EventId"] in known:
                    return
                yield event


def _given(parameters: Parameters, found: Stack) -> Iterator[dict[str, Any]]:
    for name, value in parameters.items():
        if value is not None:
            yield {"ParameterKey": name, "ParameterValue": value}
        elif found.exists and name in found.parameters:
            yield {"ParameterKey": name, "UsePreviousValue": True}


def _line(event: Event) -> str:
    reason = f": {event['ResourceStatusReason']}" if event.get("ResourceStatusReason") else ""
    return f"{event['ResourceStatus']:20} {event['LogicalResourceId']} ({event['ResourceType']}){reason}"


def _failure(name: str, status: str, happened: list[Event]) -> str:
    """CloudFormation cancels the rest when one resource fails; what was cancelled is not why."""
    for event in happened:
        reason = event.get("ResourceStatusReason", "")
        if event["ResourceStatus"].endswith("_FAILED") and "cancelled" not in reason:
            what = f"{event['LogicalResourceId']} ({event['ResourceType']})"
            return f"{name} is in {status}, as {what} failed: {reason.rstrip('.')}. What to do: {advice(reason)}"
    return f"{name} is in {status}, and CloudFormation does not say why. To look: {_how_to_look(name)}"


def _how_to_look(name: str) -> str:
    return f"aws cloudformation describe-stack-events --stack-name {name}"
