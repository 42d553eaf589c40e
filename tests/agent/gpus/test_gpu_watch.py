"""What changes on a host is believed, and what is wrong with its GPUs is a condition."""

from __future__ import annotations

from collections.abc import Callable

from muster.api.messages import GpuDevice, GpuInfo, GpuUsage, ReportedCondition
from muster_agent.conditions import Conditions
from muster_agent.gpus.devices import Devices, DeviceSnapshot
from muster_agent.gpus.gpu_watch import DRIVER_HUNG_AFTER_SECONDS, GpuWatch
from muster_agent.gpus.indexes import Known
from muster_agent.gpus.nvml import NO_MIG_DEVICE
from tests.fixtures.agent_world import Clock

A, B = Known(0, "GPU-a", "H200", 140, 0), Known(1, "GPU-b", "H200", 140, 1)


def sight(*indexes: int, lost: dict[int, str] | None = None, gone: tuple[Known, ...] = ()) -> DeviceSnapshot:
    lost = lost or {}
    devices = [GpuDevice(index, lost=index in lost) for index in sorted({*indexes, *lost})]
    return DeviceSnapshot(GpuInfo(len(devices), devices), [GpuUsage(index) for index in indexes], lost, list(gone))


class Scripted(Devices):
    """The looks that are to come. The last stays."""

    def __init__(self, *known: Known) -> None:
        self.looks: list[DeviceSnapshot] = []
        self.all = list(known)
        self.during: Callable[[], None] = lambda: None

    @property
    def known(self) -> list[Known]:
        return self.all

    def read(self, closely: bool = False) -> DeviceSnapshot:
        self.during()
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def forget(self, gone: list[Known]) -> None:
        self.all = [each for each in self.all if each not in gone]


class Watched:
    def __init__(self, *known: Known, hardware: bool = False, forget_gone: bool = False) -> None:
        self.clock = Clock()
        self.devices = Scripted(*known)
        self.conditions = Conditions(self.clock)
        self.poller = GpuWatch(self.devices, self.conditions, self.clock, lambda: hardware, forget_gone)

    def see(self, *looks: DeviceSnapshot) -> list[bool]:
        self.devices.looks = list(looks)
        return [self.poller.step() for _ in looks]

    @property
    def reported(self) -> list[ReportedCondition]:
        return self.conditions.current()


def test_before_the_first_look_nothing_is_known() -> None:
    assert (Watched().poller.info, Watched().poller.usage()) == (None, [])


def test_what_a_look_finds_is_believed_at_once() -> None:
    watched = Watched()
    assert watched.see(sight(), sight(0, 1)) == [False, False]
    assert watched.poller.info == sight(0, 1).info
    assert [each.index for each in watched.poller.usage()] == [0, 1]


def test_what_a_look_loses_is_believed_when_the_next_one_finds_the_same() -> None:
    for worse in (
        sight(1, lost={0: "GPU is lost"}),
        sight(1, gone=(A,)),
        DeviceSnapshot(GpuInfo(0), failure="Unknown Error"),
    ):
        watched = Watched(A, B)
        assert watched.see(sight(0, 1), worse) == [False, True]
        assert watched.poller.info == sight(0, 1).info
        assert watched.see(worse) == [False]
        assert watched.poller.info == worse.info


def test_one_bad_look_among_good_ones_changes_nothing() -> None:
    watched = Watched(A, B)
    assert watched.see(sight(0, 1), sight(1), sight(0, 1), sight(1)) == [False, True, False, True]
    assert watched.poller.info == sight(0, 1).info
    assert watched.reported == []


def test_a_lost_gpu_is_a_condition_that_names_it_the_error_and_what_to_do() -> None:
    watched = Watched(A, B)
    lost = sight(1, lost={0: "GPU is lost (NVML error 15)"})
    watched.see(sight(0, 1), lost, lost)
    (condition,) = watched.reported
    assert (condition.type, condition.gpus) == ("GpuLost", [0])
    for word in ("GPU 0", "GPU-a", "GPU is lost (NVML error 15)", "Xid", "reboot"):
        assert word in condition.message


def test_a_gpu_that_is_gone_is_a_condition_too_until_it_is_back() -> None:
    watched = Watched(A, B)
    gone = sight(1, gone=(A,))
    watched.see(sight(0, 1), gone, gone)
    (condition,) = watched.reported
    assert (condition.type, condition.gpus) == ("GpuLost", [0])
    assert "GPU 0 (GPU-a) is gone" in condition.message
    watched.see(sight(0, 1))
    watched.clock.pass_time(60)
    watched.see(sight(0, 1))
    assert watched.reported == []


def test_several_are_named_in_order() -> None:
    watched = Watched(A, B)
    none = sight(lost={1: "x"}, gone=(A,))
    watched.see(none, none)
    (condition,) = watched.reported
    assert condition.gpus == [0, 1]
    assert condition.message.index("GPU 0") < condition.message.index("GPU 1")


def test_gpus_that_were_taken_out_can_be_forgotten() -> None:
    watched = Watched(A, B, forget_gone=True)
    watched.see(DeviceSnapshot(GpuInfo(0), failure="Driver Not Loaded"))
    assert watched.devices.known == [A, B], "nothing can be known of them while NVML does not answer"
    watched.see(sight(1, gone=(A,)), sight(1))
    assert watched.devices.known == [B]
    assert watched.reported == []


def test_a_driver_that_does_not_answer_is_a_condition_where_there_should_be_gpus() -> None:
    down = DeviceSnapshot(GpuInfo(0), failure="Driver Not Loaded")
    for watched, gpus in ((Watched(hardware=True), []), (Watched(A, B), [0, 1])):
        watched.see(down, down)
        (condition,) = watched.reported
        assert (condition.type, condition.gpus) == ("GpuDriverUnavailable", gpus)
        assert "Driver Not Loaded" in condition.message and "nvidia-smi" in condition.message
    without = Watched()
    without.see(down, down)
    assert without.reported == []


def test_a_gpu_that_was_lost_stays_so_while_the_driver_does_not_answer() -> None:
    watched = Watched(A, B)
    lost, down = sight(1, lost={0: "GPU is lost"}), DeviceSnapshot(GpuInfo(0), failure="Unknown Error")
    watched.see(lost, lost, down, down)
    assert [each.type for each in watched.reported] == ["GpuDriverUnavailable", "GpuLost"]


def test_a_driver_that_hangs_is_a_condition_and_what_was_seen_last_stays() -> None:
    watched = Watched(A, B)
    watched.see(sight(0, 1))
    seen = []

    def hang() -> None:
        for _ in range(3):
            watched.clock.pass_time(DRIVER_HUNG_AFTER_SECONDS)
            seen.append(([each.index for each in watched.poller.usage()], [each.type for each in watched.reported]))

    watched.devices.during = hang
    watched.see(sight(0, 1))
    assert seen == [([0, 1], []), ([0, 1], []), ([0, 1], ["GpuDriverUnavailable"])]


def test_a_mig_device_that_is_gone_has_to_be_made_again() -> None:
    part = Known(1, "MIG-x", "H200 MIG 1g.18gb", 18, 0)
    watched = Watched(A, part)
    gone = sight(0, gone=(part,))
    watched.see(sight(0, 1), gone, gone)
    (condition,) = watched.reported
    assert "GPU 1 (MIG-x), a MIG device, is gone" in condition.message and "mig -cgi" in condition.message


def test_mig_without_a_mig_device_is_a_condition_that_says_how_to_make_one() -> None:
    watched = Watched(A)
    empty = sight(lost={0: NO_MIG_DEVICE})
    watched.see(empty, empty)
    (condition,) = watched.reported
    assert (condition.type, condition.gpus) == ("GpuLost", [0])
    assert "MIG is enabled" in condition.message and "Xid" not in condition.message


def test_a_library_that_is_older_than_the_driver_needs_a_reboot() -> None:
    watched = Watched(A)
    mismatch = DeviceSnapshot(GpuInfo(0), failure="RM has detected an NVML/RM version mismatch.", code=18)
    watched.see(mismatch, mismatch)
    (condition,) = watched.reported
    assert "version mismatch" in condition.message and "reboot" in condition.message
