"""The alarms of the application stack: on what, and who hears of them."""

from __future__ import annotations

from pathlib import Path

from infra.cloud import alarms
from tests.infra.cloud.templates import of_type, template


def test_each_function_has_alarms_and_the_sweep_one_for_its_silence(packaged: Path) -> None:
    stack = template(packaged, "app")
    found = {each["AlarmName"]: each for each in of_type(stack, "AWS::CloudWatch::Alarm").values()}
    api, sweep = "muster-prod", "muster-prod-expire"
    kinds = ("errors", "throttles", "duration")
    assert found.keys() == {*(f"{api}-{k}" for k in kinds), *(f"{sweep}-{k}" for k in (*kinds, "not-run"))}
    silent = found[f"{sweep}-not-run"]
    assert (silent["MetricName"], silent["ComparisonOperator"]) == ("Invocations", "LessThanThreshold")
    assert silent["TreatMissingData"] == "breaching", "no call is no datum"
    assert stack["Parameters"]["AlarmTopic"]["Default"] == ""


def test_one_error_or_throttle_raises_an_alarm() -> None:
    made = alarms.of_function("Api", "muster-prod", 29)
    for name in ("ApiErrors", "ApiThrottles"):
        properties = made[name]["Properties"]
        assert (properties["Threshold"], properties["Statistic"]) == (0, "Sum")
        assert properties["ComparisonOperator"] == "GreaterThanThreshold"
        assert properties["TreatMissingData"] == "notBreaching"


def test_a_duration_raises_an_alarm_before_the_timeout() -> None:
    properties = alarms.of_function("Api", "muster-prod", 29)["ApiDuration"]["Properties"]
    assert 0 < properties["Threshold"] < 29_000 and properties["Statistic"] == "Maximum"


def test_without_a_topic_nobody_is_told() -> None:
    for each in alarms.of_schedule("Expire", "muster-prod-expire").values():
        assert each["Properties"]["AlarmActions"] == {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopic"}], []]}
    assert alarms.CONDITIONS["HasAlarmTopic"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "AlarmTopic"}, ""]}]}
