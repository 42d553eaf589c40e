"""The states of a stack that moto never has: rolled back, in progress, failed. CloudFormation is scripted here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.cloud.errors import Stop
from infra.cloud.stacks import Stacks

NAME, URL = "muster-prod-app", "https://s3/template"
ID = f"arn:aws:cloudformation:eu-central-1:123456789012:stack/{NAME}/1"
DENIED = "User: ci is not authorized to perform: iam:CreateRole on resource: role"


def event(status: str, what: str = NAME, reason: str = "") -> dict[str, str]:
    kind = "AWS::CloudFormation::Stack" if what == NAME else "AWS::Test::Thing"
    return {
        "LogicalResourceId": what,
        "PhysicalResourceId": ID if what == NAME else what,
        "ResourceType": kind,
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
    }


class CloudFormation:
    """One stack. What was begun happens by a step (a list of events) for each look at them."""

    def __init__(self, status: str | None, *steps: list[dict[str, str]], unchanged: str = "") -> None:
        self.status, self.steps, self.unchanged = status, list(steps), unchanged
        self.calls: list[str] = []
        self.events = [event("CREATE_FAILED", "Ancient", "of an earlier deploy") | {"EventId": "0"}]
        self._begun = False

    def describe_stacks(self, StackName: str) -> Any:
        if self.status is None:
            said = f"Stack with id {StackName} does not exist"
            raise ClientError({"Error": {"Code": "ValidationError", "Message": said}}, "DescribeStacks")
        return {"Stacks": [{"StackStatus": self.status, "StackId": ID}]}

    def create_change_set(self, **wanted: Any) -> Any:
        self.calls.append(f"{wanted['ChangeSetType']} change set")
        return {"Id": "change", "StackId": ID}

    def describe_change_set(self, **_: Any) -> Any:
        status = "FAILED" if self.unchanged else "CREATE_COMPLETE"
        return {"Status": status, "StatusReason": self.unchanged, "ChangeSetId": "change", "StackId": ID}

    def delete_change_set(self, **_: Any) -> None:
        self.calls.append("delete change set")

    def execute_change_set(self, **_: Any) -> None:
        self.calls.append("execute")
        self._begun = True

    def delete_stack(self, **_: Any) -> None:
        self.calls.append("delete stack")
        self._begun = True

    def get_paginator(self, name: str) -> Any:
        return self

    def paginate(self, StackName: str) -> Any:
        if self._begun and self.steps:
            for each in self.steps.pop(0):
                self.events.append(each | {"EventId": str(len(self.events))})
            latest = self.events[-1]["ResourceStatus"]
            if self.events[-1]["LogicalResourceId"] == NAME and not latest.endswith("_IN_PROGRESS"):
                self.status, self._begun = (None if latest == "DELETE_COMPLETE" else latest), False
        newest_first = self.events[::-1]
        return [{"StackEvents": newest_first[i : i + 2]} for i in range(0, len(newest_first), 2)]


def put(aws: CloudFormation, holds_data: bool = False, sleep: Callable[[float], None] = lambda _: None) -> list[str]:
    """The lines that were shown."""
    shown: list[str] = []
    Stacks(aws, shown.append, sleep).put(NAME, URL, {}, holds_data=holds_data)
    return shown


@pytest.mark.parametrize(
    ("status", "kind"), [(None, "CREATE"), ("REVIEW_IN_PROGRESS", "CREATE"), ("UPDATE_COMPLETE", "UPDATE")]
)
def test_what_happens_is_shown_once_and_in_order(status: str | None, kind: str) -> None:
    aws = CloudFormation(
        status,
        [event(f"{kind}_IN_PROGRESS")],
        [],
        [event("CREATE_IN_PROGRESS", "A"), event("CREATE_IN_PROGRESS", "B"), event("CREATE_COMPLETE", "A")],
        [event("CREATE_COMPLETE", "B"), event(f"{kind}_COMPLETE")],
    )
    shown = [line.split(" (")[0].split() for line in put(aws)]
    started, *things, ended = shown
    assert (started, ended) == ([f"{kind}_IN_PROGRESS", NAME], [f"{kind}_COMPLETE", NAME])
    assert [" ".join(each) for each in things] == [
        "CREATE_IN_PROGRESS A",
        "CREATE_IN_PROGRESS B",
        "CREATE_COMPLETE A",
        "CREATE_COMPLETE B",
    ]
    assert aws.calls == [f"{kind} change set", "execute"]


@pytest.mark.parametrize(
    "said", ["The submitted information didn't contain changes. Submit different", "No updates are to be performed."]
)
def test_nothing_to_change_is_success(said: str) -> None:
    aws = CloudFormation("CREATE_COMPLETE", unchanged=said)
    assert put(aws) == [f"{NAME}: nothing to change"]
    assert aws.calls == ["UPDATE change set", "delete change set"]


def test_a_change_set_that_fails_says_why() -> None:
    with pytest.raises(Stop, match="was not changed: Transform AWS::Nothing failed"):
        put(CloudFormation("CREATE_COMPLETE", unchanged="Transform AWS::Nothing failed"))


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        (DENIED, "let whoever deploys have that action"),
        ("Specified ReservedConcurrentExecutions decreases UnreservedConcurrentExecution", "take that setting away"),
        ("muster-prod already exists", "no stack has it"),
        ("something new", "run the same command again"),
    ],
)
def test_the_reason_is_that_of_the_resource_which_failed_first(reason: str, advice: str) -> None:
    aws = CloudFormation(
        "CREATE_COMPLETE",
        [event("UPDATE_IN_PROGRESS"), event("CREATE_FAILED", "Role", reason)],
        [event("CREATE_FAILED", "Api", "Resource creation cancelled"), event("UPDATE_ROLLBACK_IN_PROGRESS")],
        [event("UPDATE_ROLLBACK_COMPLETE")],
    )
    with pytest.raises(Stop) as stopped:
        put(aws)
    said = stopped.value.message
    assert f"{NAME} is in UPDATE_ROLLBACK_COMPLETE, as Role (AWS::Test::Thing) failed: {reason}. What to do: " in said
    assert advice in said and "cancelled" not in said and "Ancient" not in said and stopped.value.exit_code == 1


@pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "CREATE_FAILED", "DELETE_FAILED"])
def test_an_application_that_was_never_made_is_made_anew(status: str) -> None:
    aws = CloudFormation(status, [event("DELETE_COMPLETE")], [event("CREATE_COMPLETE")])
    put(aws)
    assert aws.calls == ["delete stack", "CREATE change set", "execute"]


def test_data_is_never_deleted_for_it() -> None:
    aws = CloudFormation("ROLLBACK_COMPLETE")
    with pytest.raises(Stop, match=r"ROLLBACK_COMPLETE.*aws cloudformation delete-stack --stack-name muster-prod-app"):
        put(aws, holds_data=True)
    assert aws.calls == []


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("UPDATE_IN_PROGRESS", "another deploy is in progress .*UPDATE_IN_PROGRESS.*wait until it has ended"),
        ("UPDATE_ROLLBACK_FAILED", "aws cloudformation continue-update-rollback --stack-name muster-prod-app"),
    ],
)
def test_what_an_operator_decides(status: str, said: str) -> None:
    aws = CloudFormation(status)
    with pytest.raises(Stop, match=said) as stopped:
        put(aws)
    assert aws.calls == [] and stopped.value.exit_code == 1


def test_ctrl_c_says_that_the_stack_goes_on_and_how_to_look() -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    aws = CloudFormation("CREATE_COMPLETE", [event("UPDATE_IN_PROGRESS")])
    with pytest.raises(Stop, match=r"goes on in AWS.*describe-stack-events --stack-name muster-prod-app") as stopped:
        put(aws, sleep=interrupt)
    assert stopped.value.exit_code == 130
    assert aws.calls == ["UPDATE change set", "execute"], "nothing was taken back"
