"""The gateway's metrics, in a registry of their own (docs/gateway.md lists them).

A label `model` is a name that the routes have, or empty: callers cannot make series. Only MAX_MODELS names get series
of their own while a process runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
MAX_MODELS = 1_000
REQUEST_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
FIRST_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BETWEEN_TOKENS_BUCKETS = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5)
Kind = Literal["prompt", "completion"]


class Telemetry:
    """Times are seconds. `is_known(model)` returns whether the routes name the model."""

    def __init__(self, is_known: Callable[[str], bool] = lambda model: True) -> None:
        self._is_known = is_known
        self._models: set[str] = set()
        self._open_circuits: set[str] = set()
        disable_created_metrics()  # type: ignore[no-untyped-call]  # for each counter another series, which no query of ours reads
        self.registry = registry = CollectorRegistry(auto_describe=True)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"muster_gateway_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"muster_gateway_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"muster_gateway_{name}", text, ("model",), buckets=buckets, registry=registry)

        self._requests = counter("requests_total", "Requests that were answered.", "model", "code")
        self._request_seconds = histogram(
            "request_seconds", "From a request to the end of its answer.", REQUEST_BUCKETS
        )
        self._first_token = histogram(
            "time_to_first_token_seconds",
            "From a request to the first bytes of its streamed answer.",
            FIRST_TOKEN_BUCKETS,
        )
        self._between_tokens = histogram(
            "time_between_tokens_seconds", "Between two events of a streamed answer.", BETWEEN_TOKENS_BUCKETS
        )
        self._tokens = counter("tokens_total", "Tokens that models counted.", "model", "kind")
        self._in_flight = gauge("in_flight", "Requests that are being answered.", "model")
        self._queued = gauge("queued", "Requests that wait for a model that starts.", "model")
        self._retries = counter("retries_total", "Requests that were sent to another replica.", "model", "reason")
        self._tunnels = gauge("tunnels", "Open tunnel connections.")
        self._tunnel_workers = gauge("tunnel_workers", "Workers with at least one open tunnel.")
        self._circuits = gauge("circuits_open", "Replicas that get no requests after repeated failures.")
        self._routes_age = gauge("routes_age_seconds", "Since the control plane last answered; -1 if never.")
        self._plane_up = gauge("control_plane_up", "Whether the last request to the control plane was answered.")
        self._rejected = counter("rejected_total", "Requests that reached no model.", "reason")

    def observe_plane(self, routes_age: Callable[[], float | None], is_up: Callable[[], bool]) -> None:
        """Read both whenever the metrics are read."""

        def age() -> float:
            seconds = routes_age()
            return -1.0 if seconds is None else seconds

        self._routes_age.set_function(age)
        self._plane_up.set_function(lambda: float(is_up()))

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format, of the media type CONTENT_TYPE."""
        return generate_latest(self.registry)

    # What happens

    def request(self, model: str, code: int, seconds: float) -> None:
        """A request was answered; `code` is the HTTP status, 499 for a caller that left."""
        name = self._name(model)
        self._requests.labels(name, str(code)).inc()
        self._request_seconds.labels(name).observe(seconds)

    def first_token(self, model: str, seconds: float) -> None:
        self._first_token.labels(self._name(model)).observe(seconds)

    def between_tokens(self, model: str, seconds: float) -> None:
        self._between_tokens.labels(self._name(model)).observe(seconds)

    def tokens(self, model: str, prompt: int, completion: int) -> None:
        name = self._name(model)
        self._tokens.labels(name, "prompt").inc(max(0, prompt))
        self._tokens.labels(name, "completion").inc(max(0, completion))

    def retry(self, model: str, reason: str) -> None:
        """`reason` is one of the gateway's own short codes."""
        self._retries.labels(self._name(model), reason).inc()

    def rejected(self, reason: str) -> None:
        """`reason` is one of the gateway's own short codes."""
        self._rejected.labels(reason).inc()

    def in_flight(self, model: str, delta: int) -> None:
        self._in_flight.labels(self._name(model)).inc(delta)

    def queued(self, model: str, delta: int) -> None:
        self._queued.labels(self._name(model)).inc(delta)

    def tunnels(self, count: int, workers: int | None = None) -> None:
        self._tunnels.set(count)
        if workers is not None:
            self._tunnel_workers.set(workers)

    def circuit(self, deployment_id: str, is_open: bool) -> None:
        """The circuit of that replica has opened or closed."""
        if is_open:
            self._open_circuits.add(deployment_id)
        else:
            self._open_circuits.discard(deployment_id)
        self._circuits.set(len(self._open_circuits))

    def keep_circuits(self, deployment_ids: frozenset[str]) -> None:
        """Forget the circuits of other replicas: the routes do not name them any more."""
        self._open_circuits &= deployment_ids
        self._circuits.set(len(self._open_circuits))

    def _name(self, model: str) -> str:
        """A name that has series stays one, so that what was counted up is counted down."""
        if model in self._models:
            return model
        if len(self._models) >= MAX_MODELS or not self._is_known(model):
            return ""
        self._models.add(model)
        return model
