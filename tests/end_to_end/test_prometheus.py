"""A real Prometheus finds a running model through the control plane and scrapes both."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.fixtures import ROOT
from tests.fixtures.http_client import Operator
from tests.fixtures.http_workers import Worker
from tests.fixtures.ports import free_port
from tests.fixtures.prometheus import program
from tests.fixtures.serve import ADMIN_KEY, REGISTRATION_TOKEN, Serve
from tests.fixtures.waiting import PATIENCE, eventually


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with Serve(tmp_path / "data") as serve:
        yield serve


@pytest.fixture
def model() -> Iterator[int]:
    """A stand-in for vLLM, on that port."""
    port = free_port()
    command = [sys.executable, "infra/fake_vllm.py", "org/model", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield port
    process.kill()
    process.wait()


@pytest.fixture
def prometheus(serve: Serve, tmp_path: Path) -> Iterator[str]:
    """As docs/protocol.md configures it, but quicker: an interval is also how long an answer may take."""
    binary, port = program("prometheus"), free_port()
    place = serve.url.removeprefix("http://")
    authorization = {"type": "Bearer", "credentials": ADMIN_KEY}
    discovery = {"url": f"{serve.url}/api/discovery/prometheus", "authorization": authorization}
    fleet: dict[str, Any] = {"job_name": "muster", "metrics_path": "/api/metrics", "authorization": authorization}
    fleet["static_configs"] = [{"targets": [place]}]
    models = {"job_name": "vllm", "http_sd_configs": [discovery | {"refresh_interval": "1s"}]}
    config = {"global": {"scrape_interval": "3s"}, "scrape_configs": [fleet, models]}
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", f"--web.listen-address=127.0.0.1:{port}"]
    with (tmp_path / "prometheus.log").open("w") as log:
        process = subprocess.Popen([binary, *options], cwd=tmp_path, stdout=log, stderr=log)
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


def ask(prometheus: str, expression: str) -> list[Any]:
    try:
        got = requests.get(f"{prometheus}/api/v1/query", params={"query": expression}, timeout=PATIENCE)
    except requests.ConnectionError:
        return []
    found: list[Any] = got.json()["data"]["result"] if got.ok else []
    return found


def test_a_running_model_is_scraped_until_it_is_stopped(serve: Serve, model: int, prometheus: str) -> None:
    operator, worker = Operator(serve.url, ADMIN_KEY), Worker(serve.url, REGISTRATION_TOKEN, name='gpu "7"')
    worker.register(address="127.0.0.1")
    made = operator.deploy(worker.worker_id, name="chat", model="org/model")
    worker.commands()
    worker.report(made["deployment_id"], "running", port=model).expect(200)

    [up] = eventually(lambda: ask(prometheus, 'up{job="vllm"} == 1'), lambda found: len(found) == 1)
    labels = {"muster_deployment": "chat", "model": "org/model", "worker": 'gpu "7"', "instance": f"127.0.0.1:{model}"}
    assert up["metric"].items() >= labels.items()
    [counted] = eventually(lambda: ask(prometheus, "vllm:request_success_total"))
    assert counted["metric"]["muster_deployment"] == "chat"
    assert eventually(lambda: ask(prometheus, 'muster_deployment_status{status="running"} == 1'), bool)

    worker.report(made["deployment_id"], "stopped").expect(200)
    eventually(lambda: ask(prometheus, 'up{job="vllm"}'), lambda found: found == [])
