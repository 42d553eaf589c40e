"""The console's files: one version of all of them, kept by browsers for ever, and the page that is asked for anew.

What a browser makes of them is in tests/console.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from chalice.app import Chalice
from chalice.config import Config
from chalice.local import LocalGateway

from chalicelib.routes import console, table
from muster.api.errors import ApiError


@pytest.fixture(scope="module")
def gateway() -> LocalGateway:
    app = Chalice("console", configure_logs=False)
    table.register(app)
    return LocalGateway(app, Config())


def get(gateway: LocalGateway, path: str, **headers: str) -> Any:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.handle_request("GET", path, sent, None)


def test_the_page_names_every_module_of_its_own_version() -> None:
    site = console.site()
    assert re.fullmatch(r"[0-9a-f]{16}", site.version)
    preloaded = re.findall(r'<link rel="modulepreload" href="console/([0-9a-f]+)/([^"]+)">', site.page)
    assert preloaded == [(site.version, name) for name in site.files if name.endswith(".js")]
    assert "console/@/" not in site.page and "<!-- modules -->" not in site.page


def test_the_page_is_none_of_its_files_and_each_of_them_is_text() -> None:
    assert console.PAGE not in console.site().files
    assert {name[name.rindex(".") :] for name in console.site().files} <= console.TYPES.keys()


def test_a_file_of_this_version_is_kept_for_ever(gateway: LocalGateway) -> None:
    answer = get(gateway, f"/console/{console.site().version}/app.js")
    assert answer["statusCode"] == 200 and answer["body"] == console.site().files["app.js"]
    headers = answer["headers"]
    assert (headers["Cache-Control"], headers["Content-Type"]) == (console.FOR_EVER, "text/javascript; charset=utf-8")
    assert headers["Content-Security-Policy"] == console.POLICY


def test_the_page_is_asked_for_anew(gateway: LocalGateway) -> None:
    answer = get(gateway, "/")
    assert (answer["statusCode"], answer["headers"]["Cache-Control"]) == (200, console.ANEW)
    assert answer["body"] == console.site().page


@pytest.mark.parametrize("path", ["/", "/console/{version}/app.js"])
def test_who_has_this_version_is_sent_no_body(gateway: LocalGateway, path: str) -> None:
    path = path.replace("{version}", console.site().version)
    tag = get(gateway, path)["headers"]["ETag"]
    again = get(gateway, path, if_none_match=tag)
    assert (again["statusCode"], again["body"], again["headers"]["ETag"]) == (304, "", tag)


@pytest.mark.parametrize("version", ["", "0123456789abcdef", "@"])
def test_a_file_of_another_version_is_not_there(version: str) -> None:
    with pytest.raises(ApiError, match="reload") as caught:
        console.file(None, version, "app.js")
    assert caught.value.error_code == "ROUTE_NOT_FOUND"


@pytest.mark.parametrize("name", [console.PAGE, "nothing.js", "../app.py", "vendor/LICENSE.htm", ""])
def test_what_is_not_among_the_files_is_not_there(name: str) -> None:
    with pytest.raises(ApiError) as caught:
        console.file(None, console.site().version, name)
    assert caught.value.error_code == "ROUTE_NOT_FOUND"


def test_a_vendored_file_is_below_its_folder(gateway: LocalGateway) -> None:
    name = next(name for name in console.site().files if name.startswith("vendor/"))
    assert get(gateway, f"/console/{console.site().version}/{name}")["body"] == console.site().files[name]
    missing = get(gateway, f"/console/{console.site().version}/vendor/app.js")
    assert (missing["statusCode"], json.loads(missing["body"])["error_code"]) == (404, "ROUTE_NOT_FOUND")
