"""What callers used: totals by key and by model, a chart of days, and the gateways that count."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from tests.console.browser import Visitor
from tests.console.test_access import finds_nothing, too_wide
from tests.console.test_callers import WIDTHS, caller_keys
from tests.console.test_hostile import SHORT, nothing_ran
from tests.fixtures.http_client import Json, Operator
from tests.fixtures.serve import ADMIN_KEY, Serve

MODEL = f"org/{SHORT}"


TODAY = datetime.datetime.now(datetime.timezone.utc).date()
"""When the tests began: midnight may pass while they run."""


def days_ago(count: int) -> str:
    return str(TODAY - datetime.timedelta(count))


def label(ago: int) -> str:
    """That day, as the page shows it."""
    day = TODAY - datetime.timedelta(ago)
    return f"{day:%b} {day.day}"


@pytest.fixture(scope="module")
def used(metered: Serve) -> Iterator[Serve]:
    """Yesterday a key with a hostile name used two models; the day before, a key that was revoked since used one."""
    admin = Operator(metered.url, ADMIN_KEY)
    gateway = admin.post("/api/api-keys", {"name": "counter", "role": "gateway"}).expect(201)
    hostile, revoked = (
        admin.post("/api/api-keys", {"name": name, "role": "caller"}).expect(201)["key_id"] for name in (SHORT, "gone")
    )
    sums = [
        usage_sum(hostile, MODEL, 1, 1000, 2_000_000, 300_000),
        usage_sum(hostile, "qwen", 1, 34, 500, 70),
        usage_sum(revoked, "qwen", 2, 5, 60, 7),
    ]
    report = {"ledger_id": "ledger", "sums": sums}
    Operator(metered.url, gateway["key"]).post("/api/gateway/usage", report).expect(200)
    admin.delete(f"/api/api-keys/{revoked}").expect(200)
    yield metered
    for key in [gateway, *caller_keys(admin)]:
        admin.delete(f"/api/api-keys/{key['key_id']}").expect(200)


def usage_sum(key_id: str, model: str, ago: int, requests: int, prompt: int, completion: int) -> Json:
    tokens = {"prompt_tokens": prompt, "completion_tokens": completion}
    return {"key_id": key_id, "model": model, "day": days_ago(ago), "requests": requests, **tokens}


def answer(rows: list[Json], days: int = 7) -> Json:
    return {"since": days_ago(days - 1), "until": days_ago(0), "rows": rows}


def row_of(name: str, requests: int = 1, **more: Json) -> Json:
    return {
        "key": name,
        "key_id": f"id of {name}",
        "requests": requests,
        "prompt_tokens": 2,
        "completion_tokens": 3,
    } | more


def figures(page: Page, region: str) -> list[list[str]]:
    """The cells of the region's table, row by row, with the whitespace that is seen."""
    rows = page.get_by_role("region", name=region).locator("tbody tr")
    return [[cell.strip() for cell in row.locator("td").all_inner_texts()] for row in rows.all()]


def test_totals_are_by_key_or_by_model(visit: Callable[..., Visitor], used: Serve) -> None:
    page = visit(used.url).enter(ADMIN_KEY, "#/usage")
    totals = page.get_by_role("region", name="Totals").locator("dd")
    expect(totals).to_have_text(["1,039", "2,000,560", "300,077"])
    first, second = figures(page, "By key")
    assert first == [SHORT, "1,034", "2,000,500", "300,070"]
    assert second[0].endswith("revoked") and second[1:] == ["5", "60", "7"]
    page.get_by_label("Group").select_option("By model")
    expect(page.get_by_role("heading", name="By model")).to_be_visible()
    assert figures(page, "By model") == [[MODEL, "1,000", "2,000,000", "300,000"], ["qwen", "39", "560", "77"]]
    page.get_by_label("Filter models").fill("QWEN")
    expect(page.get_by_role("region", name="By model").locator("tbody tr")).to_have_count(1)
    page.get_by_label("Filter models").fill("nothing like it")
    expect(page.get_by_text("No model matches “nothing like it”.")).to_be_visible()
    expect(totals).to_have_text(["1,039", "2,000,560", "300,077"])


def test_the_chart_has_each_day_of_the_period_a_description_and_a_table(
    visit: Callable[..., Visitor], used: Serve
) -> None:
    page = visit(used.url).enter(ADMIN_KEY, "#/usage")
    tokens, requests = (page.get_by_role("img", name=f"{what} per day") for what in ("Tokens", "Requests"))
    for chart, columns, most in ((tokens, 4, "2,300,570"), (requests, 2, "1,034")):
        expect(chart.locator("g")).to_have_count(7)
        expect(chart.locator("rect:not(.ground)")).to_have_count(columns)
        expect(chart.locator("desc")).to_contain_text(f"The most is {most}, on")
    column = tokens.locator("g").filter(has_text=f"{label(1)}: ")
    expect(column.locator("title")).to_contain_text("2,000,500 prompt tokens, 300,070 completion tokens")
    page.get_by_text("Figures per day").click()
    table = figures(page, "Per day")
    assert [label(2), "5", "60", "7"] in table and [label(1), "1,034", "2,000,500", "300,070"] in table
    assert [row[1:] for row in table].count(["0", "0", "0"]) == 5
    page.get_by_label("Period").select_option("Last 30 days")
    expect(tokens.locator("g")).to_have_count(30)
    page.get_by_label("Period").select_option("Today")
    expect(page.get_by_role("heading", name="No usage today")).to_be_visible()


def test_what_is_chosen_stays_on_the_way_to_another_page_and_back(visit: Callable[..., Visitor], used: Serve) -> None:
    page = visit(used.url).enter(ADMIN_KEY, "#/usage")
    page.get_by_label("Period").select_option("Last 30 days")
    page.get_by_label("Group").select_option("By model")
    page.get_by_role("link", name="Access").click()
    expect(page.get_by_role("heading", name="Access", level=1)).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("u")
    expect(page.get_by_role("heading", name="Usage", level=1)).to_be_focused()
    expect(page.get_by_label("Period")).to_have_value("30")
    expect(page.get_by_role("heading", name="By model")).to_be_visible()


def test_every_role_reads_it_and_the_gateways(visit: Callable[..., Visitor], used: Serve) -> None:
    for role in ("viewer", "operator"):
        key = Operator(used.url, ADMIN_KEY).post("/api/api-keys", {"name": role, "role": role}).expect(201)["key"]
        page = visit(used.url).enter(key)
        page.get_by_role("navigation", name="Pages").get_by_role("link", name="Usage").click()
        expect(page.get_by_role("region", name="By key").get_by_text(SHORT)).to_be_visible()
        gateways = page.get_by_role("region", name="Gateways")
        expect(gateways.get_by_text("1 gateway", exact=True)).to_be_visible()
        expect(gateways.get_by_role("cell", name=used.url)).to_be_visible()
        expect(gateways.locator("time")).to_have_text(re.compile(r" ago$"))


def test_where_nothing_was_used_the_page_says_how_to_begin(
    visit: Callable[..., Visitor], vacant: Serve, used: Serve
) -> None:
    page = visit(vacant.url).enter(ADMIN_KEY, "#/usage")
    expect(page.get_by_role("heading", name="No usage in the last 7 days")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text(
        "Callers ask models at a gateway, which muster gateway serve runs."
    )
    expect(page.get_by_role("region", name="Gateways")).to_contain_text("None registered")
    page.get_by_role("link", name="Create a caller key").click()
    expect(page.get_by_role("heading", name="Access", level=1)).to_be_visible()

    visitor = visit(used.url)
    visitor.page.route("**/api/usage*", lambda route: route.fulfill(json=answer([])))
    key = Operator(used.url, ADMIN_KEY).post("/api/api-keys", {"name": "viewer", "role": "viewer"}).expect(201)["key"]
    page = visitor.enter(key, "#/usage")
    line = page.get_by_label("a request with curl", exact=True)
    expect(line).to_contain_text(f"curl '{used.url}/v1/chat/completions'")
    expect(line).to_contain_text("Bearer $API_KEY")
    expect(page.get_by_text("An operator can create a caller key.")).to_be_visible()
    expect(page.get_by_role("link", name="Create a caller key")).to_have_count(0)


def test_an_error_is_shown_and_asked_again(visit: Callable[..., Visitor], used: Serve) -> None:
    visitor = visit(used.url, alone=True)
    visitor.expected = ["500"]  # the browser's own line for such an answer
    page = visitor.page
    page.clock.install()
    failing = True

    def respond(route: Route) -> None:
        if failing:
            route.fulfill(status=500, json={"error_code": "INTERNAL_ERROR", "message": f"broken {SHORT}"})
        else:
            route.continue_()

    page.route("**/api/usage*", respond)
    visitor.enter(ADMIN_KEY, "#/usage")
    expect(page.get_by_role("heading", name="That did not work")).to_be_visible()
    expect(page.get_by_text(f"broken {SHORT}")).to_be_visible()
    failing = False
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("region", name="By key").get_by_text(SHORT)).to_be_visible()
    failing = True
    visitor.asked_while(70_000)
    expect(page.get_by_text(f"This is from before: broken {SHORT}")).to_be_visible()
    expect(page.get_by_role("region", name="By key").get_by_text(SHORT)).to_be_visible()
    failing = False
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("This is from before")).to_have_count(0)
    nothing_ran(page)


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_hostile_and_long_names_are_text_and_axe_finds_nothing(
    visit: Callable[..., Visitor], used: Serve, width: int
) -> None:
    gateways = [
        {
            "gateway_id": f"{number}",
            "url": url,
            "version": SHORT,
            "key_id": "k",
            "renewed_at": f"{days_ago(0)}T00:00:00Z",
        }
        for number, url in enumerate([f"https://{'g' * 480}.example", f"javascript:window.ran=1//{SHORT}'"])
    ]
    visitor = visit(used.url, viewport={"width": width, "height": 800})
    page = visitor.page
    page.route("**/api/gateways", lambda route: route.fulfill(json={"gateways": gateways}))
    visitor.enter(ADMIN_KEY, "#/usage")
    expect(page.get_by_role("region", name="By key").get_by_text(SHORT)).to_be_visible()
    expect(page.get_by_text("2 gateways")).to_be_visible()
    page.get_by_text("Figures per day").click()
    assert too_wide(page) == []
    nothing_ran(page)
    finds_nothing(page, "usage by key")
    page.get_by_label("Group").select_option("By model")
    expect(page.get_by_role("region", name="By model").get_by_text(SHORT)).to_be_visible()
    assert too_wide(page) == []
    nothing_ran(page)

    largest = {"requests": 2**53, "prompt_tokens": 2**53, "completion_tokens": 2**53}
    rows = [row_of("n" * 128, **largest), row_of(SHORT), row_of("__proto__"), row_of("constructor")]
    page.route("**/api/usage?by=key*", lambda route: route.fulfill(json=answer(rows)))
    page.get_by_label("Group").select_option("By key")
    expect(page.get_by_role("region", name="By key").locator("tbody tr")).to_have_count(4)
    assert too_wide(page) == []
    page.route("**/api/usage*", lambda route: route.fulfill(json=answer([])))
    page.get_by_label("Period").select_option("Last 30 days")
    expect(page.get_by_label("a request with curl", exact=True)).to_be_visible()
    assert too_wide(page) == []
    nothing_ran(page)
    finds_nothing(page, "no usage")


def test_the_parts_of_a_column_differ_in_either_scheme(visit: Callable[..., Visitor], used: Serve) -> None:
    page = visit(used.url, alone=True).enter(ADMIN_KEY, "#/usage")
    column = page.get_by_role("img", name="Tokens per day").locator("g").filter(has_text=f"{label(1)}: ")
    columns = column.locator("rect:not(.ground)")
    expect(columns).to_have_count(2)
    seen = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        expect(page.locator("html")).to_have_css("color-scheme", scheme)
        colors = columns.evaluate_all("(parts) => parts.map((each) => getComputedStyle(each).fill)")
        legend = page.locator(".chart .swatch").evaluate_all(
            "(parts) => parts.map((each) => getComputedStyle(each).backgroundColor)"
        )
        assert colors == legend and len(set(colors)) == 2
        seen.update(colors)
    assert len(seen) == 4


def test_of_200_keys_and_30_days_a_look_draws_what_changed(visit: Callable[..., Visitor], used: Serve) -> None:
    keys = [row_of(f"app-{number:03}", 1000 - number) for number in range(200)]
    days = [{"day": days_ago(29 - at), "requests": at, "prompt_tokens": at, "completion_tokens": 1} for at in range(30)]
    visitor = visit(used.url)
    page = visitor.page

    def respond(route: Route) -> None:
        rows = days if "by=day" in route.request.url else keys
        route.fulfill(body=json.dumps(answer(rows, 30)), content_type="application/json")

    page.route("**/api/usage*", respond)
    visitor.enter(ADMIN_KEY, "#/usage")
    section = page.get_by_role("region", name="By key")
    rows = section.locator("tbody tr")
    expect(rows).to_have_count(50)
    expect(page.locator(".plot rect")).to_have_count(30 * 5 - 2)
    section.get_by_role("button", name="Show 100 more keys").click()
    section.get_by_role("button", name="Show 50 more keys").click()
    expect(rows).to_have_count(200)
    assert rows.last.inner_text().split()[0] == "app-199"
    page.get_by_label("Filter keys").fill("app-19")
    expect(rows).to_have_count(10)
    page.get_by_label("Filter keys").fill("")
    expect(rows).to_have_count(200)

    page.evaluate("""() => {
        window.changed = new Set();
        new MutationObserver((found) => found.forEach(({ target }) => {
            const row = (target.nodeType === 1 ? target : target.parentElement)?.closest("tr");
            changed.add(row ? row.cells[0].innerText.trim() : target.nodeName);
        })).observe(document.querySelector(".page"), {
            subtree: true, childList: true, characterData: true, attributes: true,
        });
    }""")
    keys[3]["requests"] += 7
    with page.expect_response(lambda response: "by=key" in response.url):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(rows.nth(3)).to_contain_text("1,004")
    changed = set(page.evaluate("[...changed]")) - {"TIME", "#text"}
    assert {name for name in changed if name.startswith("app-")} == {"app-003"}, changed
