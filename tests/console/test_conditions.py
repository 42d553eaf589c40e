"""What a worker cannot do: a badge in the fleet, a list in its panel and in the panel of what it holds up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from playwright.sync_api import expect

from tests.console.browser import Visitor
from tests.console.conftest import Place
from tests.console.players import Machine, Player
from tests.console.test_access import finds_nothing
from tests.fixtures.http_client import Json, unique
from tests.fixtures.serve import ADMIN_KEY

LOST = {"type": "GpuLost", "message": "GPU 1 fell off the bus (Xid 79)", "gpus": [1]}
HOSTILE = {
    "type": "<img src=x onerror='window.ran=1'>",
    "message": "<script>window.ran=1</script>\u202egnp",
    "gpus": [],
}


@dataclass
class Troubled:
    """What the player reports from now on."""

    conditions: list[Json] = field(default_factory=list)

    def kind(self) -> type[Player]:
        troubled = self

        class Reports(Player):
            def heartbeat(self, *active: str, **more: Json) -> Json:
                return super().heartbeat(*active, conditions=troubled.conditions, **more)

        return Reports


def test_a_worker_in_trouble_has_a_badge_and_a_list_until_it_is_over(
    visitor: Visitor, place: Place, played: Callable[..., Player]
) -> None:
    trouble = Troubled([LOST])
    player = played(Machine(unique("troubled"), "NVIDIA A100", 2, 80), kind=trouble.kind())
    fine, held = (
        place.admin.post(
            "/api/deployments", {"model": "m", "name": unique(name), "worker_id": player.worker_id, "gpus": [index]}
        ).expect(201)
        for index, name in enumerate(("fine", "held"))
    )
    place.reach(fine["deployment_id"], "running")

    page = visitor.enter(ADMIN_KEY)
    row = page.get_by_role("listitem").filter(has=page.get_by_role("link", name=player.name))
    expect(row.locator(".attention")).to_have_text("GpuLost")
    page.get_by_label("Filter workers").fill("gpulost")
    expect(page.locator(".worker")).to_have_count(1)

    row.get_by_role("link", name=player.name).click()
    expect(page.locator("h1 .attention")).to_have_text("GpuLost")
    panel = page.get_by_role("region", name="Needs attention")
    expect(panel.get_by_role("listitem")).to_have_count(1)
    expect(panel).to_contain_text("GPU 1 fell off the bus (Xid 79)")
    expect(panel.locator("time")).to_contain_text("ago")

    page.goto(f"{place.url}/#/deployments/{held['deployment_id']}")
    expect(page.get_by_role("region", name="Held up by")).to_contain_text("GpuLost")
    page.goto(f"{place.url}/#/deployments/{fine['deployment_id']}")
    expect(page.get_by_role("heading", name=fine["name"])).to_be_visible()
    expect(page.get_by_role("region", name="Held up by")).to_have_count(0)
    page.goto(f"{place.url}/#/deployments")
    badges = page.locator(".deployment").filter(has_text=held["name"]).locator(".attention")
    expect(badges).to_have_text("GpuLost")

    page.goto(f"{place.url}/#/workers/{player.worker_id}")
    expect(panel).to_be_visible()
    trouble.conditions = []
    expect(panel).to_have_count(0)
    expect(page.locator(".attention")).to_have_count(0)


def test_axe_finds_nothing_in_a_badge_and_a_list_in_either_scheme(
    alone: Visitor, place: Place, played: Callable[..., Player]
) -> None:
    player = played(Machine(unique("troubled"), "NVIDIA A100", 2, 80), kind=Troubled([LOST]).kind())
    page = alone.enter(ADMIN_KEY, f"#/workers/{player.worker_id}")
    expect(page.get_by_role("region", name="Needs attention")).to_be_visible()
    finds_nothing(page, "a worker with a condition")


def test_what_a_host_wrote_is_shown_as_text(visitor: Visitor, played: Callable[..., Player]) -> None:
    player = played(Machine(unique("hostile"), "NVIDIA A100", 1, 80), kind=Troubled([HOSTILE]).kind())
    page = visitor.enter(ADMIN_KEY, f"#/workers/{player.worker_id}")
    panel = page.get_by_role("region", name="Needs attention")
    expect(panel).to_contain_text("<img src=x onerror='window.ran=1'>")
    expect(panel).to_contain_text(r"<script>window.ran=1</script>\u202egnp")
    assert page.evaluate("window.ran") is None
