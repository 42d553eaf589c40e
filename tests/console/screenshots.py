"""The pictures in docs/images: the console as it is, of a fleet that is played and an agent that is real."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, ViewportSize

from tests.console.browser import Visitor, chromium
from tests.console.scene import play, use
from tests.fixtures.agent_process import ProcessHost
from tests.fixtures.http_client import Operator
from tests.fixtures.serve import ADMIN_KEY, REGISTRATION_TOKEN, Serve
from tests.fixtures.waiting import eventually

IMAGES = Path(__file__).parents[2] / "docs" / "images"
LARGEST = 200_000
WIDE, PHONE = ViewportSize(width=1280, height=860), ViewportSize(width=360, height=740)


def shoot(page: Page, name: str, scheme: str) -> None:
    page.mouse.move(0, 0)
    page.wait_for_timeout(700)
    path = IMAGES / f"console-{name}-{scheme}.png"
    path.write_bytes(page.screenshot())
    size = path.stat().st_size
    assert size <= LARGEST, f"{path.name} has {size} bytes"
    print(f"{size:8} {path.name}", flush=True)


def views(url: str, atlas: str, crashed: str, running: str) -> dict[str, tuple[str, Callable[[Page], None]]]:
    """What to go to, and what has to be there before it is taken."""
    return {
        "fleet": ("", lambda page: page.get_by_role("link", name="atlas-01").wait_for()),
        "deployments": ("#/deployments", lambda page: page.get_by_role("link", name="chat-large").wait_for()),
        "crash": (f"#/deployments/{crashed}", lambda page: page.get_by_text("Value error, User").last.wait_for()),
        "running": (f"#/deployments/{running}", lambda page: page.get_by_text("startup complete").last.wait_for()),
        "usage": ("#/usage", lambda page: page.get_by_role("heading", name="By key").wait_for()),
        "worker": (f"#/workers/{atlas}", lambda page: page.get_by_text("64 °C").wait_for()),
    }


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        serve = Serve(folder / "data", MUSTER_HEARTBEAT="1")
        serve.start()
        operator = Operator(serve.url, ADMIN_KEY)
        fleet = play(serve.url, REGISTRATION_TOKEN, operator)
        host = ProcessHost(folder, serve.url, "lyra")
        host.address = "127.0.0.1"
        host.start()
        try:
            workers = eventually(lambda: _workers(operator), lambda found: "lyra" in found)
            ids = []
            for title, length, status in (("assistant", 8192, "running"), ("long-context", 200000, "error")):
                config = {"max_model_len": length, "gpu_memory_utilization": 0.9}
                made = operator.deploy(workers["lyra"], name=title, model="Qwen/Qwen3-0.6B", config=config)
                ids.append(made["deployment_id"])
                eventually(lambda: operator.status(ids[-1]), lambda seen, s=status: seen == s)  # type: ignore[misc]
            use(serve.url, operator)
            for scheme in ("light", "dark"):
                visitor = Visitor(browser, serve.url, color_scheme=scheme, viewport=WIDE)
                visitor.page.goto(serve.url)
                shoot(visitor.page, "signin", scheme)
                page = visitor.enter(ADMIN_KEY)
                for view, (fragment, there) in views(serve.url, workers["atlas-01"], ids[1], ids[0]).items():
                    page.goto(f"{serve.url}/{fragment}")
                    there(page)
                    shoot(page, view, scheme)
                page.set_viewport_size(PHONE)
                page.goto(f"{serve.url}/")
                page.get_by_role("link", name="atlas-01").evaluate(
                    "(e) => scrollTo(0, e.getBoundingClientRect().top - 90)"
                )
                shoot(page, "phone", scheme)
        finally:
            fleet.stop()
            host.end()
            serve.stop()


def _workers(operator: Operator) -> dict[str, str]:
    return {each["name"]: each["worker_id"] for each in operator.get("/api/workers").expect(200)["workers"]}


if __name__ == "__main__":
    main()
