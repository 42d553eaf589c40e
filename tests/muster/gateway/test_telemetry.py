"""The metrics have the names that dashboards use, and callers cannot make series."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from muster.gateway.telemetry import MAX_MODELS, Telemetry

NAMES = {
    "muster_gateway_requests_total",
    "muster_gateway_request_seconds",
    "muster_gateway_time_to_first_token_seconds",
    "muster_gateway_time_between_tokens_seconds",
    "muster_gateway_tokens_total",
    "muster_gateway_in_flight",
    "muster_gateway_queued",
    "muster_gateway_retries_total",
    "muster_gateway_tunnels",
    "muster_gateway_tunnel_workers",
    "muster_gateway_circuits_open",
    "muster_gateway_routes_age_seconds",
    "muster_gateway_control_plane_up",
    "muster_gateway_rejected_total",
}


def samples(telemetry: Telemetry) -> dict[tuple[str, ...], float]:
    text = telemetry.exposition().decode()
    return {
        (
            sample.name,
            *(sample.labels[name] for name in sorted(sample.labels, key=lambda name: name != "model")),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def all_at_once(telemetry: Telemetry, model: str) -> None:
    telemetry.request(model, 200, 0.3)
    telemetry.first_token(model, 0.02)
    telemetry.between_tokens(model, 0.01)
    telemetry.tokens(model, 7, 5)
    telemetry.in_flight(model, 1)
    telemetry.queued(model, 1)
    telemetry.retry(model, "draining")


def test_the_metrics_are_those_that_are_documented_and_no_others() -> None:
    telemetry = Telemetry()
    all_at_once(telemetry, "qwen")
    telemetry.rejected("rate-limit")
    named = set(re.findall(r"^# TYPE (\S+)", telemetry.exposition().decode(), re.MULTILINE))
    assert named == NAMES


def test_what_happened_is_counted() -> None:
    telemetry = Telemetry()
    all_at_once(telemetry, "qwen")
    telemetry.in_flight("qwen", -1)
    telemetry.tunnels(4, 2)
    telemetry.rejected("rate-limit")
    found = samples(telemetry)
    assert found["muster_gateway_requests_total", "qwen", "200"] == 1
    assert found["muster_gateway_tokens_total", "qwen", "prompt"] == 7
    assert found["muster_gateway_tokens_total", "qwen", "completion"] == 5
    assert found["muster_gateway_in_flight", "qwen"] == 0 and found["muster_gateway_queued", "qwen"] == 1
    assert found["muster_gateway_retries_total", "qwen", "draining"] == 1
    assert found["muster_gateway_rejected_total", "rate-limit"] == 1
    assert (found["muster_gateway_tunnels",], found["muster_gateway_tunnel_workers",]) == (4, 2)
    assert found["muster_gateway_time_to_first_token_seconds_sum", "qwen"] == 0.02
    assert found["muster_gateway_time_between_tokens_seconds_count", "qwen"] == 1


def test_names_that_callers_invent_share_one_series() -> None:
    telemetry = Telemetry(lambda model: model == "qwen")
    for number in range(50):
        all_at_once(telemetry, f"invented {number}\n\x00")
    before = len(samples(telemetry))
    all_at_once(telemetry, "invented")
    assert len(samples(telemetry)) == before
    assert samples(telemetry)["muster_gateway_requests_total", "", "200"] == 51


def test_names_that_operators_give_are_bounded_too() -> None:
    telemetry = Telemetry()
    for number in range(MAX_MODELS + 50):
        telemetry.in_flight(f"model {number}", 1)
    assert samples(telemetry)["muster_gateway_in_flight", ""] == 50


def test_a_model_that_leaves_the_routes_is_counted_down_where_it_was_counted_up() -> None:
    known = {"qwen"}
    telemetry = Telemetry(known.__contains__)
    telemetry.in_flight("qwen", 1)
    known.clear()
    telemetry.in_flight("qwen", -1)
    assert samples(telemetry)["muster_gateway_in_flight", "qwen"] == 0


def test_names_of_any_characters_are_written_as_prometheus_reads_them() -> None:
    telemetry = Telemetry()
    telemetry.request('a"b\\c\nd\u00e9', 200, 1)
    assert ("muster_gateway_requests_total", 'a"b\\c\nd\u00e9', "200") in samples(telemetry)


def test_circuits_are_counted_once_and_forgotten_with_their_replicas() -> None:
    telemetry = Telemetry()
    for deployment_id in ("d1", "d1", "d2", "d3"):
        telemetry.circuit(deployment_id, True)
    assert samples(telemetry)["muster_gateway_circuits_open",] == 3
    telemetry.circuit("d2", False)
    telemetry.circuit("d2", False)
    assert samples(telemetry)["muster_gateway_circuits_open",] == 2
    telemetry.keep_circuits(frozenset({"d3", "d4"}))
    assert samples(telemetry)["muster_gateway_circuits_open",] == 1


def test_the_control_plane_is_read_when_the_metrics_are() -> None:
    telemetry = Telemetry()
    seen: list[tuple[float | None, bool]] = [(None, False)]
    telemetry.observe_plane(lambda: seen[0][0], lambda: seen[0][1])
    found = samples(telemetry)
    assert (found["muster_gateway_routes_age_seconds",], found["muster_gateway_control_plane_up",]) == (-1, 0)
    seen[0] = (2.5, True)
    found = samples(telemetry)
    assert (found["muster_gateway_routes_age_seconds",], found["muster_gateway_control_plane_up",]) == (2.5, 1)
