"""The three timelines, and following one as a client does that keeps nothing but the cursor."""

from tests.fixtures.http_client import Json, Operator, unique
from tests.fixtures.http_workers import Agent


def newest(reader: Operator, path: str, **about: str) -> Json:
    """The latest line about that; the server's own lines may come in between."""
    found = reader.get(f"{path}?limit=100").expect(200)["events"]
    return next(line for line in found if about.items() <= line.items())


def follow(viewer: Operator, path: str, cursor: str) -> tuple[list[Json], str]:
    """What came since, the oldest first."""
    page = viewer.get(f"{path}?after={cursor}").expect(200)
    assert page["next_token"] is None
    return page["events"][::-1], page["cursor"]


def test_each_line_is_in_the_timelines_of_all_that_it_is_about(agent: Agent, operator: Operator) -> None:
    made = operator.deploy(agent.worker_id, name=unique("chat"))
    agent.fetch("deploy")
    agent.say(made["deployment_id"], "error", made["generation"], error_code="DISK_FULL", message="free some").expect(
        200
    )
    paths = [
        f"/api/deployments/{made['deployment_id']}/events",
        f"/api/workers/{agent.worker_id}/events",
        "/api/events",
    ]
    line, *others = [newest(operator, path, deployment_id=made["deployment_id"]) for path in paths]
    assert others == [line, line]
    assert (line["type"], line["error_code"], line["message"]) == ("error", "DISK_FULL", "DISK_FULL: free some")
    names = (line["deployment_name"], line["worker_name"], line["by"])
    assert names == (made["name"], agent.name, f"worker {agent.name}")


def test_who_made_a_credential_is_told(admin: Operator, viewer: Operator) -> None:
    made = admin.post("/api/api-keys", {"name": unique("key"), "role": "viewer"}).expect(201)
    line = newest(viewer, "/api/events", key_id=made["key_id"])
    assert (line["type"], line["by"]) == ("key_created", "key local admin")
    admin.delete(f"/api/api-keys/{made['key_id']}").expect(200)
    assert newest(viewer, "/api/events", key_id=made["key_id"])["type"] == "key_revoked"


def test_a_timeline_is_followed_by_its_cursor(agent: Agent, operator: Operator, viewer: Operator) -> None:
    path = f"/api/workers/{agent.worker_id}/events"
    cursor = viewer.get(f"{path}?limit=1").expect(200)["cursor"]
    assert follow(viewer, path, cursor)[0] == []
    made = operator.deploy(agent.worker_id)
    told, cursor = follow(viewer, path, cursor)
    assert [line["type"] for line in told] == ["placed"]
    agent.fetch("deploy")
    for status in ("starting", "running"):
        agent.say(made["deployment_id"], status, made["generation"]).expect(200)
    told, cursor = follow(viewer, path, cursor)
    assert [line["type"] for line in told] == ["starting", "running"]
    assert follow(viewer, path, cursor)[0] == []


def test_a_cursor_that_was_made_up_is_400(viewer: Operator) -> None:
    for query in ("after=nonsense", "after=", "next_token=nonsense", "limit=0"):
        viewer.get(f"/api/events?{query}").expect(400, "INVALID_REQUEST")
