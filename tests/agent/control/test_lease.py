"""How long an agent may start models without contact to its control plane."""

from __future__ import annotations

from pathlib import Path

import pytest

from muster_agent.control.lease import LEASE_SECONDS, Lease
from muster_agent.host.clocks import Moment
from tests.fixtures.agent_world import DAY, AgentWorld
from tests.fixtures.journals import forbid_writing, open_journal

YEAR = 365 * DAY


def at(boottime: float, wall: float = 1_800_000_000.0, boot_id: str = "this boot") -> Moment:
    return Moment(wall, boottime, boot_id)


def contact_of(folder: Path) -> Lease:
    return Lease(open_journal(folder).database)


def test_contact_is_a_lease_that_outlives_the_process(tmp_path: Path) -> None:
    lease = contact_of(tmp_path)
    assert not lease.may_start(at(0))
    lease.note(at(1000))
    for each in (lease, contact_of(tmp_path)):
        assert each.may_start(at(1000 + LEASE_SECONDS - 1))
        assert not each.may_start(at(1000 + LEASE_SECONDS))


@pytest.mark.parametrize("wall", [0.0, 1_800_000_000 - YEAR, 1_800_000_000 + DAY, 1_800_000_000 + YEAR])
def test_within_one_boot_the_wall_clock_has_no_say(tmp_path: Path, wall: float) -> None:
    contact_of(tmp_path).note(at(1000))
    assert contact_of(tmp_path).may_start(at(1000 + LEASE_SECONDS - 1, wall))
    assert not contact_of(tmp_path).may_start(at(1000 + LEASE_SECONDS, wall))


@pytest.mark.parametrize(
    ("uptime", "off", "may"),
    [
        (10.0, 60.0, True),
        (10.0, DAY + 1, False),
        # Boot without a clock: it says 1970, or the day on which the image was built.
        (10.0, -1_800_000_000.0, True),
        (10.0, -YEAR, True),
        # However wrong it is, this boot alone has lasted longer than the lease.
        (LEASE_SECONDS, -YEAR, False),
        # Ahead: nothing is started before the first contact, or before the clock is right.
        (10.0, YEAR, False),
    ],
)
def test_after_a_reboot_the_longer_of_uptime_and_wall_clock_counts(
    tmp_path: Path, uptime: float, off: float, may: bool
) -> None:
    contact_of(tmp_path).note(at(50_000))
    rebooted = at(uptime, 1_800_000_000.0 + off, "next boot")
    lease = contact_of(tmp_path)
    assert lease.may_start(rebooted) is may
    lease.note(rebooted)
    assert lease.may_start(rebooted), "contact is contact, whatever the wall clock says"


def test_what_an_older_agent_journaled_counts_by_the_wall_clock(tmp_path: Path) -> None:
    """It may be updated in the same boot, whose uptime then says nothing."""
    open_journal(tmp_path).database.set_meta(last_contact=repr(1_800_000_000.0))
    lease = contact_of(tmp_path)
    assert lease.may_start(at(30 * DAY, 1_800_000_000.0 + LEASE_SECONDS - 1))
    assert not lease.may_start(at(30 * DAY, 1_800_000_000.0 + LEASE_SECONDS))


def test_an_older_agent_finds_epoch_seconds(tmp_path: Path) -> None:
    contact_of(tmp_path).note(at(1000, 1_800_000_000.0))
    assert open_journal(tmp_path).database.meta("last_contact") == "1800000000.0"


def test_without_contact_for_a_day_nothing_is_started(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.clock.pass_time(DAY + 1)
    world.engine.die(world.engine.only().id, 1)
    world.settle(20, seconds=60)
    assert all(each.state != "running" for each in world.engine.all.values())
    world.beat()
    world.settle()
    assert world.statuses()[-1] == "running"


@pytest.mark.parametrize("seconds", [-DAY - 1, DAY + 1])
def test_a_step_of_the_wall_clock_neither_ends_nor_renews_the_lease(world: AgentWorld, seconds: float) -> None:
    world.deploy()
    world.settle()
    world.clock.step(seconds)
    world.engine.die(world.engine.only().id, 1)
    world.settle(20, seconds=60)
    assert world.engine.only().deployment_id == "d1", "it was started again without any contact"
    world.clock.step(-seconds)
    world.clock.pass_time(DAY)
    world.engine.die(world.engine.only().id, 1)
    world.clock.step(-DAY)
    world.settle(20, seconds=60)
    assert all(each.state != "running" for each in world.engine.all.values())


def test_a_suspended_host_has_no_contact_meanwhile(world: AgentWorld) -> None:
    world.deploy()
    world.settle()
    world.clock.suspend(DAY + 1)
    world.engine.die(world.engine.only().id, 1)
    world.settle(20, seconds=60)
    assert all(each.state != "running" for each in world.engine.all.values())


@pytest.mark.parametrize("off", [60.0, -1_000_000.0, -DAY])
def test_a_rebooted_host_starts_its_models_before_the_first_contact(world: AgentWorld, off: float) -> None:
    world.deploy()
    world.settle()
    world.reboot(off)
    world.settle()
    assert world.engine.only().deployment_id == "d1"


def test_contact_is_written_down_every_ten_minutes_and_known_at_once(tmp_path: Path) -> None:
    lease = contact_of(tmp_path)
    ages = []
    for moment in (at(1000), at(1001), at(1599, wall=0.0), at(1600), at(10, boot_id="next boot")):
        lease.note(moment)
        assert lease.age(moment) == 0
        ages.append(contact_of(tmp_path).age(moment))
    assert ages == [0, 1, 599, 0, 0]


def test_contact_that_cannot_be_written_down_counts_until_the_process_ends(tmp_path: Path) -> None:
    database = open_journal(tmp_path).database
    lease = Lease(database)
    forbid_writing(database)
    lease.note(at(1000))
    assert lease.may_start(at(1000))
    assert contact_of(tmp_path).age(at(1000)) is None
