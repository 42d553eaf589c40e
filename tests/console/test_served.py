"""The console's files as the app serves them: what they are, who may keep them, and nothing else."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from chalicelib.routes import console
from tests.fixtures.http_client import Client

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FILES = {str(path.relative_to(console.FOLDER)): path for path in console.FOLDER.rglob("*") if path.is_file()}


def gateway(path: str, seen_at: str = "", method: str = "GET", **headers: str) -> Any:
    """The app's answer to API Gateway, which took `path` from a request for `seen_at`."""
    import app

    parts = path.strip("/").split("/")
    names = {"console": ("/console/{version}/vendor/{name}" if "vendor" in parts else "/console/{version}/{name}")}
    event = {
        "requestContext": {"httpMethod": method, "resourcePath": names.get(parts[0], "/"), "path": seen_at or path},
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "pathParameters": {"version": parts[1], "name": parts[-1]} if len(parts) > 1 else {},
        "multiValueQueryStringParameters": None,
        "stageVariables": None,
        "body": None,
        "isBase64Encoded": False,
    }
    return app.app(event, None)


def asset(name: str) -> str:
    return f"/console/{console.site().version}/{name}"


@pytest.mark.parametrize(
    "path", ["/", asset("app.js"), asset("base.css"), asset("icon.svg"), asset("vendor/preact.js")]
)
def test_what_is_served_is_guarded_and_text(path: str) -> None:
    answer = gateway(path)
    assert answer["statusCode"] == 200 and not answer.get("isBase64Encoded")
    headers = answer["headers"]
    assert headers["Content-Security-Policy"] == POLICY
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
    assert headers["Content-Type"].endswith("; charset=utf-8")
    kept = "no-cache" if path == "/" else "public, max-age=31536000, immutable"
    assert headers["Cache-Control"] == kept


@pytest.mark.parametrize("path", ["/", asset("app.js")])
def test_who_has_it_is_told_so(path: str) -> None:
    tag = gateway(path)["headers"]["ETag"]
    for sent in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        again = gateway(path, **{"if-none-match": sent})
        assert (again["statusCode"], again["body"]) == (304, "")
        assert again["headers"]["ETag"] == tag and again["headers"]["Content-Security-Policy"] == POLICY
    assert gateway(path, **{"if-none-match": '"other"'})["statusCode"] == 200


@pytest.mark.parametrize(
    "name",
    """nothing.js index.html manifest.json ../../app.py ..%2f..%2fapp.py %2e%2e vendor/manifest.json vendor/LICENSE.htm
    vendor/../app.js app.js%00 APP.JS""".split(),
)
def test_nothing_else_is_there(name: str) -> None:
    answer = gateway(asset(name))
    assert answer["statusCode"] == 404
    assert set(json.loads(answer["body"])) == {"error_code", "message"}


def test_another_version_is_not_there() -> None:
    assert gateway("/console/0123456789abcdef/app.js")["statusCode"] == 404


@pytest.mark.parametrize(("seen_at", "leads_to"), [("/prod", "prod/"), ("/api", "api/"), ("/a/b", "b/")])
def test_a_stage_without_its_slash_leads_to_the_one_with_it(seen_at: str, leads_to: str) -> None:
    answer = gateway("/", seen_at)
    assert (answer["statusCode"], answer["headers"]["Location"]) == (308, leads_to)


def test_below_a_stage_the_page_is_the_same() -> None:
    assert gateway("/", "/prod/")["body"] == gateway("/")["body"]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_has_nothing_inline_and_names_files_that_are_there() -> None:
    tags = Tags()
    tags.feed(console.site().page)
    named = {attributes.get("src") or attributes.get("href") for _, attributes in tags.found} - {None}
    assert {str(name).removeprefix(f"console/{console.site().version}/") for name in named} == set(console.site().files)
    assert not [tag for tag, attributes in tags.found if "style" in attributes or tag in ("style", "base", "form")]
    assert [attributes["src"] for tag, attributes in tags.found if tag == "script"] == [f"{asset('app.js')[1:]}"]


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.endswith(".js")))
def test_a_module_imports_what_is_there_and_asks_nobody_else(name: str) -> None:
    text = FILES[name].read_text()
    folder = FILES[name].parent
    for imported in re.findall(r"""(?:from|import\()\s*["']([^"']+)["']""", text):
        assert imported.startswith("./") and (folder / imported).is_file(), f"{name}: {imported}"
    if not name.startswith("vendor/"):
        assert not re.search(r"innerHTML|dangerously|insertAdjacent|document\.write|\beval\(|new Function", text)
        assert not re.search(r"https?://", text)


def test_over_http_head_has_the_heads_alone_and_other_methods_are_refused(place: Any) -> None:
    client = Client(place.url)
    for accepted in ("identity", "gzip"):
        page = client.call("GET", "/", headers={"Accept-Encoding": accepted})
        head = client.call("HEAD", "/", headers={"Accept-Encoding": accepted})
        assert (head.status, head.text) == (200, "") and page.text == console.site().page
        assert head.headers["Content-Length"] == page.headers["Content-Length"]
        assert (page.headers["Content-Length"] == str(len(page.text.encode()))) is (accepted == "identity")
    assert client.call("GET", "/", headers={"If-None-Match": page.headers["ETag"]}).status == 304
    client.call("POST", "/", {}).expect(405, "METHOD_NOT_ALLOWED")
    client.get("/console/0/app.js").expect(404, "ROUTE_NOT_FOUND")
    client.get("/console/../app.py").expect(404, "ROUTE_NOT_FOUND")
