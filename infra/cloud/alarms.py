"""Alarms of the application stack, which go to the stack's SNS topic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

TOPIC = {
    "AlarmTopic": {
        "Type": "String",
        "Default": "",
        "Description": "The ARN of an SNS topic for alarms; empty for none",
    }
}
CONDITIONS = {"HasAlarmTopic": {"Fn::Not": [{"Fn::Equals": [{"Ref": "AlarmTopic"}, ""]}]}}
ACTIONS = {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopic"}], []]}


@dataclass(frozen=True)
class Rule:
    """The metric of a function that raises an alarm above `threshold` within 5 minutes. `kind` names the alarm."""

    kind: str
    metric: str
    threshold: float
    description: str
    statistic: str = "Sum"


def of_function(resource: str, function_name: str, timeout: int) -> Json:
    """Errors, throttles, and a duration that nears the timeout (seconds)."""
    near = timeout * 1000 * 0.9
    rules = (
        Rule("errors", "Errors", 0, "It raised, or was killed: look at its log group"),
        Rule("throttles", "Throttles", 0, "Lambda refused to run it: the account's concurrency"),
        Rule("duration", "Duration", near, f"It nears its {timeout} seconds", "Maximum"),
    )
    return {f"{resource}{rule.metric}": _alarm(resource, function_name, rule) for rule in rules}


def of_schedule(resource: str, function_name: str) -> Json:
    """The sweep did not run for five minutes: lost workers are not noticed, nor are pending deployments placed."""
    description = "The sweep did not run for 5 minutes: is the schedule's rule enabled?"
    alarm = _alarm(resource, function_name, Rule("not-run", "Invocations", 1, description))
    alarm["Properties"] |= {"ComparisonOperator": "LessThanThreshold", "TreatMissingData": "breaching"}
    return {f"{resource}NotRun": alarm}


def _alarm(resource: str, function_name: str, rule: Rule) -> Json:
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmName": f"{function_name}-{rule.kind}",
            "AlarmDescription": rule.description,
            "Namespace": "AWS/Lambda",
            "MetricName": rule.metric,
            "Dimensions": [{"Name": "FunctionName", "Value": {"Ref": resource}}],
            "Statistic": rule.statistic,
            "Period": 300,
            "EvaluationPeriods": 1,
            "Threshold": rule.threshold,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
            "AlarmActions": ACTIONS,
        },
    }
