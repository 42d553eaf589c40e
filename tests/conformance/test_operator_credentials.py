"""Registration tokens, API keys, and what operators may change of a worker."""

from collections.abc import Callable

import pytest

from tests.fixtures.http_client import Client, Operator, unique
from tests.fixtures.http_workers import Worker
from tests.fixtures.served import Server


@pytest.mark.parametrize(
    ("path", "body", "secret", "id_name"),
    [
        ("/api/registration-tokens", {"name": "join", "expires_in": 600}, "token", "token_id"),
        ("/api/api-keys", {"name": "ci", "role": "viewer"}, "key", "key_id"),
    ],
)
def test_a_secret_is_shown_once_and_revoked(
    admin: Operator, path: str, body: dict[str, object], secret: str, id_name: str
) -> None:
    made = admin.post(path, body).expect(201)
    assert len(made[secret]) >= 43 and not made[secret].startswith("-")
    listed = admin.get(f"{path}?limit=100")
    assert made[secret] not in listed.text
    assert made[id_name] in str(listed.expect(200))
    admin.delete(f"{path}/{made[id_name]}").expect(200)


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_a_key_is_told_what_it_is(keyed: Callable[[str], Operator], role: str) -> None:
    assert keyed(role).get("/api/whoami").expect(200) == {"name": role, "role": role}


@pytest.mark.parametrize(
    ("path", "body", "secret", "id_name"),
    [
        ("/api/registration-tokens", {"name": "join"}, "token", "token_id"),
        ("/api/api-keys", {"name": "ci", "role": "viewer"}, "key", "key_id"),
    ],
)
def test_a_secret_is_not_repeated_to_an_idempotency_key(
    admin: Operator, path: str, body: dict[str, object], secret: str, id_name: str
) -> None:
    headers = {"Idempotency-Key": unique("once")}
    first = admin.post(path, body, headers=headers).expect(201)
    again = admin.post(path, body, headers=headers)
    assert again.status in (200, 201) and again.body[id_name] == first[id_name]
    assert first[secret] not in again.text
    admin.post(path, body | {"name": "other"}, headers=headers).expect(409, "IDEMPOTENCY_MISMATCH")


def test_a_revoked_key_is_401(admin: Operator, server: Server) -> None:
    made = admin.post("/api/api-keys", {"name": "gone", "role": "admin"}).expect(201)
    Client(server.url, made["key"]).get("/api/workers").expect(200)
    admin.delete(f"/api/api-keys/{made['key_id']}").expect(200)
    Client(server.url, made["key"]).get("/api/workers").expect(401, "UNAUTHENTICATED")


def test_a_role_that_is_none_is_400(admin: Operator) -> None:
    said = admin.post("/api/api-keys", {"name": "x", "role": "root"}).expect(400, "INVALID_REQUEST")
    assert "role" in said["message"]


@pytest.mark.parametrize("body", [{"max_uses": 0}, {"max_uses": -1}, {"expires_in": -1}, {"expires_in": 10**30}])
def test_a_registration_token_of_impossible_terms_is_400(admin: Operator, body: dict[str, int]) -> None:
    said = admin.post("/api/registration-tokens", body).expect(400, "INVALID_REQUEST")
    assert next(iter(body)) in said["message"]


def test_an_operator_makes_ordinary_registration_tokens(operator: Operator, server: Server) -> None:
    token = operator.post("/api/registration-tokens", {}).expect(201)["token"]
    Worker(server.url, token).register()


def test_an_ephemeral_token_admits_as_any_other(operator: Operator, server: Server) -> None:
    token = operator.post("/api/registration-tokens", {"ephemeral": True}).expect(201)["token"]
    Worker(server.url, token).register()


def test_a_bearer_is_no_registration_token(server: Server, anyone: Client) -> None:
    bearer = Client(server.url, server.registration_token)
    bearer.get("/api/workers").expect(401, "UNAUTHENTICATED")


def test_labels_draining_and_address_are_patched(worker: Worker, operator: Operator) -> None:
    path = f"/api/workers/{worker.worker_id}"
    wanted = {"labels": {"rack": "b7"}, "draining": True, "address": "10.0.0.9"}
    assert wanted.items() <= operator.patch(path, wanted).expect(200).items()
    assert wanted.items() <= operator.get(path).expect(200).items()


def test_what_an_operator_patched_survives_a_registration(worker: Worker, operator: Operator) -> None:
    path = f"/api/workers/{worker.worker_id}"
    operator.patch(path, {"draining": True}).expect(200)
    worker.register()
    worker.beat()
    assert operator.get(path).expect(200)["draining"] is True


@pytest.mark.parametrize("wrong", [{"labels": {"a": 1}}, {"labels": []}, {"draining": "yes"}, {"address": 5}])
def test_a_patch_of_wrong_types_is_400_and_named(worker: Worker, operator: Operator, wrong: dict[str, object]) -> None:
    said = operator.patch(f"/api/workers/{worker.worker_id}", wrong).expect(400, "INVALID_REQUEST")
    assert next(iter(wrong)) in said["message"]


def test_workers_are_listed_without_a_credential_of_theirs(worker: Worker, viewer: Operator) -> None:
    listed = viewer.get("/api/workers?limit=100")
    assert str(worker.client.bearer) not in listed.text
    found, page = [], listed.expect(200)
    while True:
        found += [one["worker_id"] for one in page["workers"]]
        if page["next_token"] is None:
            break
        page = viewer.get(f"/api/workers?limit=100&next_token={page['next_token']}").expect(200)
    assert found.count(worker.worker_id) == 1
