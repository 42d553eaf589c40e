"""Each type of condition has a bit of its own, which never moves."""

from muster.api.conditions import OTHER_BIT, ConditionType, bit, types_in


def test_the_bits_are_those_that_earlier_releases_stored() -> None:
    assert [bit(each) for each in ConditionType] == list(range(len(ConditionType)))
    assert bit("EngineUnavailable") == 0 and bit("WeightsUnreadable") == 9


def test_a_type_that_only_a_newer_agent_knows_has_the_last_bit() -> None:
    assert bit("SomethingNew") == OTHER_BIT == 31
    assert len(ConditionType) < OTHER_BIT


def test_a_bitmask_is_read_as_the_types_that_it_was_made_of() -> None:
    assert types_in(0) == []
    assert types_in(1 << bit("GpuLost") | 1) == ["EngineUnavailable", "GpuLost"]
    assert types_in(1 << bit("SomethingNew")) == ["Other"]
