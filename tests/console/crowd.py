"""Two hundred workers with eight GPUs each, and what a refresh of the page that shows them costs.

python -m tests.console.crowd        prints the scripting time of each refresh, from Chromium's own trace
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.console.browser import Visitor, chromium
from tests.console.players import Machine, Player
from tests.fixtures.http_client import Operator
from tests.fixtures.serve import ADMIN_KEY, REGISTRATION_TOKEN, Serve

SCRIPTING = {"FunctionCall", "EvaluateScript", "RunMicrotasks", "TimerFire", "FireAnimationFrame", "v8.callFunction"}
DRAWING = {"Layout", "UpdateLayoutTree", "Paint", "PrePaint", "Layerize", "Commit"}


def crowd(url: str, operator: Operator, count: int) -> list[Player]:
    """`count` workers, played; on each of the first twenty a model has half of the devices."""
    machines = [
        Machine(f"rack-{at:03}", "NVIDIA H100 80GB HBM3", 8, 80, {"row": str(at % 9)}, {7: 11}) for at in range(count)
    ]
    players = [Player(url, REGISTRATION_TOKEN, machine, {}) for machine in machines]
    for at, player in enumerate(players):
        player.register()
        if at < 20:
            body = {"model": f"org/model-{at % 11}", "name": f"model-{at}", "worker_id": player.worker_id, "gpus": 4}
            operator.post("/api/deployments", body).expect(201)
        player.turn()
    return players


def refreshes(page: Page, players: list[Player], rounds: int, trace: Path) -> list[dict[str, float]]:
    """Milliseconds of scripting and of drawing of each refresh, in which every GPU's figures differ from before."""
    session = page.context.new_cdp_session(page)
    found = []
    for _ in range(rounds):
        for player in players:
            player.turn()
        page.context.browser.start_tracing(page=page, path=trace)  # type: ignore[union-attr]
        with page.expect_response(lambda answer: "/api/fleet" in answer.url, timeout=60000):
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.wait_for_timeout(1500)
        page.context.browser.stop_tracing()  # type: ignore[union-attr]
        found.append(_sums(json.loads(trace.read_text())["traceEvents"]))
    session.detach()
    return found


def _sums(events: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Of the page's main thread, in its own time and not the clock's; what is nested in another counts once."""
    events = [event for event in events if event.get("ph") == "X" and "tdur" in event]
    threads = {(event["pid"], event["tid"]) for event in events if event["name"] == "FunctionCall"}
    sums: dict[str, float] = {}
    for title, names in (("scripting", SCRIPTING), ("drawing", DRAWING)):
        total, longest, end = 0.0, 0.0, 0.0
        chosen = [e for e in events if e["name"] in names and (e["pid"], e["tid"]) in threads]
        for event in sorted(chosen, key=lambda event: (event["ts"], -event["dur"])):
            if event["ts"] >= end:
                total += event["tdur"]
                longest = max(longest, event["tdur"])
                end = event["ts"] + event["dur"]
        sums |= {title: total / 1000, f"longest {title}": longest / 1000}
    return sums


def main() -> None:
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        with Serve(folder / "data", MUSTER_HEARTBEAT="30") as serve:
            players = crowd(serve.url, Operator(serve.url, ADMIN_KEY), 200)
            visitor = Visitor(browser, serve.url, viewport={"width": 1280, "height": 860})
            page = visitor.enter(ADMIN_KEY)
            page.locator(".worker").nth(199).wait_for(state="attached")
            found = refreshes(page, players, 7, folder / "trace.json")
            for each in found:
                print("  ".join(f"{title} {value:6.1f} ms" for title, value in each.items()))
            print(f"median scripting {statistics.median(each['scripting'] for each in found):.1f} ms")


if __name__ == "__main__":
    main()
