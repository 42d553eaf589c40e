"""Below a stage, as API Gateway has it: the page finds its files and the API relative to where it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest
import requests
from playwright.sync_api import expect

from tests.console.browser import Visitor
from tests.console.conftest import Place
from tests.fixtures.http_server import HttpServer
from tests.fixtures.serve import ADMIN_KEY
from tests.fixtures.waiting import PATIENCE


@contextmanager
def gateway(stage: str, behind: str) -> Iterator[str]:
    """Passes what is below /`stage` on to `behind` and knows nothing else."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if not self.path.startswith(f"/{stage}/"):
                self.send_error(403)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: self.headers[name] for name in ("Authorization", "If-None-Match") if name in self.headers}
            url = behind + self.path.removeprefix(f"/{stage}")
            answer = requests.request(self.command, url, data=body, headers=headers, timeout=PATIENCE)
            self.send_response(answer.status_code)
            for name in ("Content-Type", "Content-Security-Policy", "Cache-Control", "ETag"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_POST = do_PATCH = do_DELETE = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HttpServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/{stage}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("stage", ["prod", "api"])
def test_below_a_stage_it_works_as_at_the_root(visit: Callable[..., Visitor], place: Place, stage: str) -> None:
    with gateway(stage, place.url) as url:
        visitor = visit(url)
        page = visitor.enter(ADMIN_KEY, f"#/deployments/{place.running}")
        expect(page.locator(".rail")).to_be_visible()
        page.goto(f"{url}/#/usage")
        expect(page.get_by_role("heading", name="No usage in the last 7 days")).to_be_visible()
        page.goto(f"{url}/#/access")
        page.get_by_role("button", name="Add workers").click()
        page.get_by_role("button", name="Make the line to run").click()
        expect(page.get_by_label("the line that joins a machine", exact=True)).to_contain_text(f"--url '{url}'")
        page.reload()
        expect(page.get_by_role("heading", name="Access", level=1)).to_be_visible()
        assert page.evaluate(
            "performance.getEntriesByType('resource').every((e) => e.name.startsWith(document.baseURI.split('#')[0]))"
        )
        visitor.close()  # before what it looks at ends
