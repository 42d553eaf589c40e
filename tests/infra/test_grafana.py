"""The dashboard's queries, each asked of a real Prometheus that reads a gateway's metrics."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests

from muster.gateway.telemetry import CONTENT_TYPE, Telemetry
from tests.fixtures import ROOT
from tests.fixtures.http_server import HttpServer, serving
from tests.fixtures.ports import free_port
from tests.fixtures.prometheus import program, samples_of
from tests.fixtures.waiting import PATIENCE, eventually

DASHBOARD = json.loads((ROOT / "infra" / "grafana" / "gateway.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
VARIABLES = {"$instance": ".*", "$model": ".*", "$__rate_interval": "1m"}
"""What Grafana puts in their place."""
TELEMETRY = Telemetry()


def exposition() -> bytes:
    """The metrics of a gateway to which everything that it counts has happened once more."""
    TELEMETRY.observe_plane(lambda: 1.0, lambda: True)
    TELEMETRY.request("qwen", 200, 1.5)
    TELEMETRY.first_token("qwen", 0.2)
    TELEMETRY.between_tokens("qwen", 0.02)
    TELEMETRY.tokens("qwen", 10, 20)
    TELEMETRY.retry("qwen", "draining")
    TELEMETRY.rejected("rate_limit_exceeded")
    TELEMETRY.in_flight("qwen", 1)
    TELEMETRY.queued("qwen", 1)
    TELEMETRY.tunnels(2, 1)
    TELEMETRY.circuit("d1", True)
    return TELEMETRY.exposition()


class Metrics(BaseHTTPRequestHandler):
    """A gateway's /metrics."""

    def do_GET(self) -> None:
        body = exposition()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what a test prints is for people."""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("grafana"), free_port()
    with serving(HttpServer(("127.0.0.1", 0), Metrics)) as gateway:
        targets = [{"targets": [f"127.0.0.1:{gateway.server_address[1]}"]}]
        scraped = {"job_name": "gateways", "scrape_interval": "1s", "static_configs": targets}
        (folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": [scraped]}))
        with running(folder, port):
            yield f"http://127.0.0.1:{port}"


@contextmanager
def running(folder: Path, port: int) -> Iterator[None]:
    """Prometheus, in that folder."""
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen([program("prometheus"), *options], cwd=folder, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def values(prometheus: str, query: str) -> list[float]:
    """Of all series that Prometheus finds. Raises AssertionError where it refuses the query."""
    try:
        answer = requests.get(f"{prometheus}/api/v1/query", params={"query": query}, timeout=PATIENCE)
    except requests.ConnectionError:
        return []
    if answer.status_code == 503:  # it is starting
        return []
    assert answer.status_code == 200, answer.text
    return [float(each["value"][1]) for each in answer.json()["data"]["result"]]


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_finds_what_the_gateway_counts(prometheus: str, query: str) -> None:
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    assert "$" not in query

    def found(seen: list[float]) -> bool:
        return bool(seen) and not any(math.isnan(each) for each in seen)

    eventually(lambda: values(prometheus, query), found, query)


def test_the_dashboard_shows_every_metric_of_the_gateway() -> None:
    exposed = {name for name, _ in samples_of(exposition().decode())}
    exposed = {re.sub("_(bucket|sum|count)$", "", name) for name in exposed}
    shown = {re.sub("_bucket$", "", name) for query in QUERIES for name in re.findall(r"muster_gateway_\w+", query)}
    assert shown == exposed


def test_promtool_finds_no_fault_in_the_metrics() -> None:
    checked = subprocess.run([program("promtool"), "check", "metrics"], input=exposition(), capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_each_panel_has_a_place_of_its_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        x, y, w, h = (panel["gridPos"][name] for name in "xywh")
        cells = {(column, row) for column in range(x, x + w) for row in range(y, y + h)}
        assert x + w <= 24 and not cells & taken, panel["title"]
        taken |= cells
