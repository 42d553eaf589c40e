"""The routes that Prometheus asks, as it asks them."""

import subprocess

from prometheus_client.parser import text_string_to_metric_families

from tests.fixtures.http_client import Client, Operator, session, unique
from tests.fixtures.http_workers import Agent, Worker
from tests.fixtures.prometheus import program
from tests.fixtures.waiting import PATIENCE

NASTY = 'a"b\\c\nd\\n{}=é\u2028'


def scrape(client: Client) -> str:
    got = session().get(
        f"{client.url}/api/metrics", headers={"Authorization": f"Bearer {client.bearer}"}, timeout=PATIENCE
    )
    assert (got.status_code, got.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return got.content.decode()


def test_hostile_names_come_back_as_they_are(agent: Agent, viewer: Operator, operator: Operator) -> None:
    worker = Worker(viewer.url, agent.token, name=unique('w"\\{'), host=NASTY)
    worker.register()
    operator.deploy(worker.worker_id, model='m"\\ \u00fc')
    text = scrape(viewer)
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    info = [s.labels for s in samples if s.name == "muster_worker_info" and s.labels["worker"] == worker.name]
    assert [labels["hostname"] for labels in info] == [NASTY]
    checked = subprocess.run([program("promtool"), "check", "metrics"], input=text.encode(), capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_promtool_finds_fault_where_there_is_one() -> None:
    bad = b'# HELP muster_x x\n# TYPE muster_x counter\nmuster_x{a="b"} 1\n'
    assert subprocess.run([program("promtool"), "check", "metrics"], input=bad, capture_output=True).returncode != 0


def test_discovery_is_a_bare_list(worker: Worker, operator: Operator, viewer: Operator) -> None:
    operator.patch(f"/api/workers/{worker.worker_id}", {"address": "10.9.8.7"}).expect(200)
    made = operator.deploy(worker.worker_id)
    worker.start(made["deployment_id"])
    reply = viewer.get("/api/discovery/prometheus")
    assert reply.headers["Content-Type"] == "application/json"
    found = [each for each in reply.expect(200) if each["labels"]["muster_deployment"] == made["name"]]
    assert [each["targets"] for each in found] == [["10.9.8.7:8001"]]
    assert all(isinstance(value, str) for each in found for value in each["labels"].values())
