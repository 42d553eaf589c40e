"""What somebody is told: by mail or pager, through whatever hears the topic that the stack is given."""

from __future__ import annotations

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


def of_function(resource: str, function_name: str, timeout: int) -> Json:
    """Errors, throttles, and a duration that nears the timeout (seconds)."""
    near = timeout * 1000 * 0.9
    return {
        f"{resource}Errors": _alarm(
            resource, function_name, "errors", "Errors", 0, "It raised, or was killed: look at its log group"
        ),
        f"{resource}Throttles": _alarm(
            resource, function_name, "throttles", "Throttles", 0, "Lambda refused to run it: the account's concurrency"
        ),
        f"{resource}Duration": _alarm(
            resource, function_name, "duration", "Duration", near, f"It nears its {timeout} seconds", "Maximum"
        ),
    }


def of_schedule(resource: str, function_name: str) -> Json:
    """The sweep did not run for five minutes: lost workers are not noticed, nor are pending deployments placed."""
    said = "The sweep did not run for 5 minutes: is the schedule's rule enabled?"
    alarm = _alarm(resource, function_name, "not-run", "Invocations", 1, said)
    alarm["Properties"] |= {"ComparisonOperator": "LessThanThreshold", "TreatMissingData": "breaching"}
    return {f"{resource}NotRun": alarm}


def _alarm(
    resource: str, function_name: str, kind: str, metric: str, threshold: float, said: str, statistic: str = "Sum"
) -> Json:
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmName": f"{function_name}-{kind}",
            "AlarmDescription": said,
            "Namespace": "AWS/Lambda",
            "MetricName": metric,
            "Dimensions": [{"Name": "FunctionName", "Value": {"Ref": resource}}],
            "Statistic": statistic,
            "Period": 300,
            "EvaluationPeriods": 1,
            "Threshold": threshold,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
            "AlarmActions": ACTIONS,
        },
    }
