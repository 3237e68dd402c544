from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connectors.sources.offsets import Offsets

offsets = st.lists(st.integers(0, 1000), min_size=1, max_size=30, unique=True).map(sorted)


def test_nothing_is_committed_before_the_first_message() -> None:
    assert Offsets().position is None
    assert Offsets().due is None


def test_the_position_is_that_of_the_lowest_message_not_settled() -> None:
    partition = Offsets()
    for offset in (5, 6, 7):
        partition.begin(offset)
    partition.settle(7)
    partition.settle(6)
    assert partition.position == 5
    partition.settle(5)
    assert partition.position == 8


def test_gaps_in_the_numbers_are_no_messages() -> None:
    partition = Offsets()
    for offset in (5, 90):
        partition.begin(offset)
    partition.settle(5)
    assert partition.position == 90


def test_what_kafka_has_is_not_due_again() -> None:
    partition = Offsets()
    partition.begin(3)
    due = [partition.due]
    partition.committed(3)
    due.append(partition.due)
    partition.settle(3)
    assert [*due, partition.due] == [3, None, 4]


def test_a_message_that_was_never_taken_cannot_be_settled() -> None:
    partition = Offsets()
    partition.begin(3)
    partition.settle(2)
    partition.settle(9)
    assert partition.position == 3


@given(taken=offsets, data=st.data())
def test_whatever_is_settled_when_nothing_unsettled_is_ever_committed(
    taken: list[int], data: st.DataObject
) -> None:
    partition, begun, settled, last = Offsets(), 0, set[int](), -1
    while begun < len(taken) or len(settled) < len(taken):
        open_ones = [offset for offset in taken[:begun] if offset not in settled]
        if begun < len(taken) and (not open_ones or data.draw(st.booleans())):
            partition.begin(taken[begun])
            begun += 1
        else:
            offset = data.draw(st.sampled_from(open_ones))
            partition.settle(offset)
            settled.add(offset)
        left = [offset for offset in taken[:begun] if offset not in settled]
        assert partition.position == (min(left) if left else taken[begun - 1] + 1)
        assert partition.unsettled == len(left)
        assert partition.position >= last, "a position never goes back"
        last = partition.position
