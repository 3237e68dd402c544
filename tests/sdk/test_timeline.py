"""Presentation times out of the timestamps that files carry."""

from fractions import Fraction
from itertools import accumulate

import pytest

from dmcl_sdk.timeline import Timeline

MILLISECOND = Fraction(1, 1000)


def starts(timeline: Timeline, timestamps: list[int | None]) -> list[int | None]:
    places = [timeline.place(timestamp, 40) for timestamp in timestamps]
    return [place.start if place else None for place in places]


def test_times_count_from_the_first_timestamp() -> None:
    assert starts(Timeline(MILLISECOND, 40), [5000, 5040, 5080]) == [0, 40, 80]


def test_a_stated_start_comes_before_the_first_frame() -> None:
    timeline = Timeline(MILLISECOND, 40)
    timeline.start_at(4000)
    timeline.start_at(4500)
    assert starts(timeline, [5000, 5040]) == [1000, 1040]


def test_negative_timestamps_are_as_good_as_others() -> None:
    assert starts(Timeline(MILLISECOND, 40), [-80, -40, 0]) == [0, 40, 80]


def test_frames_without_a_timestamp_follow_at_the_usual_step() -> None:
    assert starts(Timeline(MILLISECOND, 40), [None, None, 80, 120, None]) == [0, 40, 80, 120, 160]


def test_a_repeated_moment_is_left_out() -> None:
    assert starts(Timeline(MILLISECOND, 40), [0, 40, 40, 80, 70, 120]) == [0, 40, None, 80, None, 120]


def test_a_clock_set_back_goes_on_where_it_was() -> None:
    assert starts(Timeline(MILLISECOND, 40), [0, 40, 80, -9000, -8960]) == [0, 40, 80, 120, 160]


def test_where_the_clock_stands_still_frames_are_counted() -> None:
    placed = [start for start in starts(Timeline(MILLISECOND, 40), [7] * 20) if start is not None]
    assert placed == [40 * number for number in range(len(placed))]
    assert len(placed) == 13


def test_more_than_half_a_second_without_a_picture_is_a_hole() -> None:
    for step, is_hole in [(40, False), (500, False), (501, True)]:
        timeline = Timeline(MILLISECOND, 40)
        starts(timeline, [0, 40, 80])
        place = timeline.place(80 + step, 40)
        assert place is not None
        assert place.after_hole is is_hole


def test_at_one_frame_a_second_only_five_seconds_are_a_hole() -> None:
    timeline = Timeline(MILLISECOND, 1000)
    for timestamp, is_hole in [(0, False), (1000, False), (6000, False), (12_000, True)]:
        place = timeline.place(timestamp, 0)
        assert place is not None
        assert place.after_hole is is_hole


def test_a_frame_ends_by_its_own_duration_or_the_usual_one() -> None:
    timeline = Timeline(MILLISECOND, 40)
    for timestamp, duration, end in [(0, 33, 33), (40, 0, 80), (80, -5, 120), (120, 10**9, 160)]:
        place = timeline.place(timestamp, duration)
        assert place is not None
        assert place.end == end


def test_seconds_are_rounded_once() -> None:
    timeline = Timeline(Fraction(1001, 30_000), 1)
    assert timeline.seconds(3) == float(Fraction(3003, 30_000))


RATES = {
    "steady": [40] * 50,
    "rounded to a millisecond": [33, 33, 34] * 20,
    "one frame dropped": [40] * 25 + [80] + [40] * 25,
    "a single frame": [],
}
VARIABLE_RATES = {"a phone in the dark": [33] * 30 + [50] * 30, "wandering": [30, 35, 40, 45, 50] * 10}


@pytest.mark.parametrize("name", [*RATES, *VARIABLE_RATES])
def test_a_rate_is_variable_when_more_than_a_few_steps_differ(name: str) -> None:
    timeline = Timeline(MILLISECOND, 40)
    for timestamp in accumulate(RATES.get(name) or VARIABLE_RATES.get(name) or [], initial=0):
        timeline.place(timestamp, 0)
    assert timeline.variable is (name in VARIABLE_RATES)
