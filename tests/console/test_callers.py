"""Callers' keys: created with limits, shown once with a request to the gateway, listed, and revoked."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.console.browser import Visitor
from tests.console.conftest import Place
from tests.console.test_access import finds_nothing, too_wide
from tests.console.test_hostile import SHORT, nothing_ran
from tests.fixtures.http_client import Json, Operator, unique
from tests.fixtures.serve import ADMIN_KEY, Serve
from tests.fixtures.waiting import PATIENCE, eventually

WIDTHS = {"wide": 1280, "phone": 390}


@pytest.fixture
def admin(metered: Serve) -> Iterator[Operator]:
    """Revokes the callers' keys that the test leaves behind."""
    made = Operator(metered.url, ADMIN_KEY)
    yield made
    for key in caller_keys(made):
        made.delete(f"/api/api-keys/{key['key_id']}").expect(200)


def caller_keys(admin: Operator) -> list[Json]:
    return list(admin.get("/api/api-keys?role=caller&limit=500").expect(200)["api_keys"])


def listed(keys: list[Json]) -> Json:
    return {"api_keys": keys, "next_token": None}


def key_of(admin: Operator, role: str, **fields: Json) -> str:
    return str(admin.post("/api/api-keys", {"name": unique(role), "role": role, **fields}).expect(201)["key"])


def dialog(page: Page) -> Locator:
    """The dialog for a new key, once it is open."""
    page.get_by_role("button", name="New caller key").click()
    found = page.get_by_role("dialog", name="New caller key")
    expect(found).to_be_visible()
    return found


def row_of(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name="Caller keys").get_by_role("row").filter(has_text=name)


def test_an_operator_creates_a_key_with_limits_asks_the_gateway_with_it_and_revokes_it(
    visit: Callable[..., Visitor], metered: Serve, admin: Operator
) -> None:
    name = unique("app")
    visitor = visit(metered.url)
    page = visitor.enter(key_of(admin, "operator"), "#/access")
    form = dialog(page)
    form.get_by_label("Name", exact=True).fill(name)
    form.get_by_label("Models").fill(" qwen \nembed, small\n\nqwen")
    form.get_by_label("Requests per minute").fill("60")
    form.get_by_label("Tokens per minute").fill("10000")
    form.get_by_label("Tokens per day").fill("1000000")
    form.get_by_label("Expires").select_option("in 30 days")
    form.get_by_role("button", name="Create key").click()

    key = form.get_by_label("the API key", exact=True).inner_text()
    line = form.get_by_label("a request with curl", exact=True).inner_text()
    assert line.startswith(f"curl '{metered.url}/v1/chat/completions'") and f"'Authorization: Bearer {key}'" in line
    assert '"model":"embed, small"' in line
    (made,) = [each for each in caller_keys(admin) if each["name"] == name]
    assert made["models"] == ["embed, small", "qwen"]
    assert (made["rpm"], made["tpm"], made["tpd"]) == (60, 10_000, 1_000_000) and "expires_at" in made
    if shutil.which("curl"):
        known = eventually(lambda: answer_to(line), lambda text: "invalid_api_key" not in text, what="the key")
        assert "model_not_found" in known, "the key is good, and no model runs here"

    form.get_by_role("button", name="Done").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert key not in page.content()
    row = row_of(page, name)
    for text in ("embed, small", "qwen", "requests/minute60", "tokens/minute10,000", "tokens/day1,000,000"):
        expect(row).to_contain_text(text)
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_have_count(0)
    assert name not in [each["name"] for each in caller_keys(admin)]


def answer_to(line: str) -> str:
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=PATIENCE).stdout


def test_a_key_without_limits_is_for_every_model(
    visit: Callable[..., Visitor], metered: Serve, admin: Operator
) -> None:
    name = unique("app")
    page = visit(metered.url).enter(ADMIN_KEY, "#/access")
    form = dialog(page)
    form.get_by_label("Name", exact=True).fill(name)
    form.get_by_role("button", name="Create key").click()
    expect(form.get_by_label("a request with curl", exact=True)).to_contain_text('"model":"MODEL"')
    form.get_by_role("button", name="Done").click()
    cells = row_of(page, name).get_by_role("cell")
    expect(cells.nth(1)).to_have_text("all")
    expect(cells.nth(2)).to_have_text("none")
    expect(cells.nth(3)).to_have_text("never")


def test_what_is_wrong_is_said_beside_its_field(visit: Callable[..., Visitor], metered: Serve, admin: Operator) -> None:
    visitor = visit(metered.url)
    visitor.expected = ["400"]  # the browser's own line for such an answer
    form = dialog(visitor.enter(ADMIN_KEY, "#/access"))
    create = form.get_by_role("button", name="Create key")
    form.get_by_label("Requests per minute").fill("many")
    form.get_by_label("Tokens per minute").fill("0")
    form.get_by_label("Tokens per day").fill("1.5")
    create.click()
    for field, text in {
        "name": "expected a name",
        "rpm": "expected a whole number",
        "tpm": "expected a whole number",
        "tpd": "expected a whole number",
    }.items():
        expect(form.locator(f"[data-field={field}]").get_by_role("alert")).to_contain_text(text)
    expect(form.get_by_label("Name", exact=True)).to_be_focused()
    for limit in ("Requests per minute", "Tokens per minute", "Tokens per day"):
        form.get_by_label(limit).fill(" 7 ")
    form.get_by_label("Models").fill("\n".join(f"model-{number}" for number in range(101)))
    form.get_by_label("Name", exact=True).fill("n" * 129)
    create.click()
    expect(form.get_by_role("alert")).to_have_count(1)
    expect(form.locator("[data-field=models]").get_by_role("alert")).to_contain_text("at most 100 models")
    form.get_by_label("Models").fill("qwen")
    create.click()
    expect(form.locator("[data-field=name]").get_by_role("alert")).to_contain_text("128")  # from the control plane
    assert caller_keys(admin) == []


def test_without_a_gateway_the_dialog_says_how_to_run_one(visit: Callable[..., Visitor], vacant: Serve) -> None:
    page = visit(vacant.url).enter(ADMIN_KEY, "#/access")
    form = dialog(page)
    form.get_by_label("Name", exact=True).fill(unique("app"))
    form.get_by_role("button", name="Create key").click()
    expect(form.get_by_label("the API key", exact=True)).to_be_visible()
    expect(form.get_by_text("No gateway is registered.")).to_contain_text("muster gateway serve")
    expect(form.get_by_label("a request with curl", exact=True)).to_have_count(0)


def test_the_dialog_names_the_models_that_run(visitor: Visitor, place: Place) -> None:
    place.reach(place.running, "running")
    form = dialog(visitor.enter(place.key("operator"), "#/access"))
    expect(form.locator("[data-field=models]")).to_contain_text("Running now: ")
    served = place.admin.deployment(place.running)["served_model_name"]
    expect(form.locator("[data-field=models]")).to_contain_text(served)


def test_a_viewer_sees_no_keys(visit: Callable[..., Visitor], metered: Serve, admin: Operator) -> None:
    page = visit(metered.url).enter(key_of(admin, "viewer"), "#/access")
    expect(page.get_by_role("heading", name="Nothing for viewers here")).to_be_visible()
    expect(page.get_by_role("region", name="Caller keys")).to_have_count(0)


def test_a_callers_key_does_not_open_the_console(
    visit: Callable[..., Visitor], metered: Serve, admin: Operator
) -> None:
    visitor = visit(metered.url)
    visitor.expected = ["403"]
    visitor.page.goto(metered.url)
    visitor.page.get_by_label("API key").fill(key_of(admin, "caller"))
    visitor.page.get_by_role("button", name="Sign in").click()
    expect(visitor.page.get_by_role("alert")).to_contain_text("needs the role viewer")


def test_a_key_that_expired_is_listed_as_such(visit: Callable[..., Visitor], metered: Serve, admin: Operator) -> None:
    made = admin.post("/api/api-keys", {"name": "app", "role": "caller", "expires_in": 60}).expect(201)
    keys = [made | {"expires_at": made["created_at"]}]
    visitor = visit(metered.url)
    visitor.page.route("**/api/api-keys?role=caller*", lambda route: route.fulfill(json=listed(keys)))
    page = visitor.enter(ADMIN_KEY, "#/access")
    expect(row_of(page, "app").get_by_role("cell").nth(3)).to_have_text("expired")


def test_an_admin_creates_a_gateways_key_with_the_command_that_runs_it(
    visit: Callable[..., Visitor], metered: Serve
) -> None:
    name = unique("edge")
    page = visit(metered.url).enter(ADMIN_KEY, "#/access")
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("gateway serves models").check()
    page.get_by_role("button", name="Make", exact=True).click()
    key = page.get_by_label("the API key", exact=True).inner_text()
    command = page.get_by_label("the command that runs a gateway", exact=True)
    expect(command).to_have_text(
        f"MUSTER_GATEWAY_KEY={key} muster gateway serve --control-plane '{metered.url}' --url ADDRESS"
    )
    body = {"url": "https://models.example.com"}
    registered = Operator(metered.url, key).post("/api/gateways", body).expect(200)
    page.get_by_role("button", name="Done").click()
    row = page.get_by_role("region", name="API keys").get_by_role("row").filter(has_text=name)
    expect(row.get_by_role("cell").nth(1)).to_have_text("gateway")
    Operator(metered.url, key).delete(f"/api/gateways/{registered['gateway_id']}").expect(200)
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_have_count(0)


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_hostile_and_long_names_are_text_and_axe_finds_nothing(
    visit: Callable[..., Visitor], metered: Serve, admin: Operator, width: int
) -> None:
    models = [SHORT, "m" * 512, *(f"org/model-{number}" for number in range(98))]
    limits = {"rpm": 2**53 - 1, "tpm": 2**53 - 1, "tpd": 2**53 - 1}
    fields = {"role": "caller", "models": models, "expires_in": 86400, **limits}
    admin.post("/api/api-keys", {"name": SHORT, **fields}).expect(201)
    admin.post("/api/api-keys", {"name": "n" * 128, **fields}).expect(201)
    visitor = visit(metered.url, viewport={"width": width, "height": 800})
    page = visitor.page
    gateways = [
        {"url": f"https://models.example.com/{SHORT}$(id)`id`", "gateway_id": "1"},
        {"url": SHORT, "gateway_id": "2"},
    ]
    page.route("**/api/gateways", lambda route: route.fulfill(json={"gateways": gateways}))
    visitor.enter(ADMIN_KEY, "#/access")
    row = row_of(page, SHORT).first
    row.get_by_text("97 more").click()
    expect(row.get_by_text("org/model-97", exact=True)).to_be_visible()
    assert too_wide(page) == []
    nothing_ran(page)
    finds_nothing(page, "callers' keys")
    row.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("dialog", name=f"Revoke {SHORT}?")).to_be_visible()
    page.keyboard.press("Escape")

    form = dialog(page)
    form.get_by_label("Requests per minute").fill("-1")
    form.get_by_role("button", name="Create key").click()
    expect(form.get_by_role("alert")).to_have_count(2)
    finds_nothing(page, "what is wrong in the dialog")
    form.get_by_label("Requests per minute").fill("")
    form.get_by_label("Name", exact=True).fill(SHORT)
    form.get_by_label("Models").fill(SHORT)
    form.get_by_role("button", name="Create key").click()
    line = form.get_by_label("a request with curl", exact=True).inner_text().replace("\\\n", "")
    words = shlex.split(line)
    assert words[1] == f"{gateways[0]['url']}/v1/chat/completions" and json.loads(words[-1])["model"] == SHORT
    expect(form.get_by_text("Also at")).to_contain_text(SHORT)
    assert too_wide(page) == []
    assert form.evaluate("(e) => e.scrollWidth <= e.clientWidth")
    nothing_ran(page)
    finds_nothing(page, "the new key")


def test_of_many_keys_the_first_are_drawn_and_more_on_demand(
    visit: Callable[..., Visitor], metered: Serve, admin: Operator
) -> None:
    made = admin.post("/api/api-keys", {"name": "app", "role": "caller", "rpm": 60}).expect(201)
    keys = [made | {"key_id": f"key-{number}", "name": f"app-{number}"} for number in range(200)]
    visitor = visit(metered.url)
    visitor.page.route("**/api/api-keys?role=caller*", lambda route: route.fulfill(json=listed(keys)))
    page = visitor.enter(ADMIN_KEY, "#/access")
    section = page.get_by_role("region", name="Caller keys")
    rows = section.locator("tbody tr")
    expect(rows).to_have_count(50)
    section.get_by_role("button", name="Show 100 more keys").click()
    expect(rows).to_have_count(150)
    section.get_by_role("button", name="Show 50 more keys").click()
    expect(rows).to_have_count(200)
    expect(section.get_by_role("button", name=" more key")).to_have_count(0)
